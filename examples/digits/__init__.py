"""The rooms of `examples/demo.py`: pictures in, a small network trained, faults injected, a save killed."""
