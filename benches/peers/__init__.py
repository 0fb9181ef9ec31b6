"""Drivers of other packages: the same work as the workload of that name, by the calls that their documents show."""
