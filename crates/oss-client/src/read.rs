//! The read engine: a plan of byte ranges, fetched ahead under one budget, delivered in a defined order.

pub(crate) mod ahead;
mod budget;
pub(crate) mod coalesce;
mod course;
pub mod engine;
pub(crate) mod fetch;
mod hedge;
pub(crate) mod landing;
pub(crate) mod loading;
mod nap;
pub mod object;
pub mod plan;
pub mod prefetch;
pub mod scatter;
pub(crate) mod slot;
pub(crate) mod tiles;
