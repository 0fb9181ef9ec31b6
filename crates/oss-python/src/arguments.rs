//! Python arguments as values of the client.

use oss_client::config::OptionValue;
use oss_client::error::Error;
use oss_protocol::uri::ObjectUri;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyMapping, PyRange, PyRangeMethods, PyString};

use crate::errors::OrRaise;
use crate::order::Share;

/// A URI that names an object: `oss://bucket/key` or `/bucket/key`.
pub(crate) fn object_uri(py: Python<'_>, text: &str) -> PyResult<ObjectUri> {
    ObjectUri::parse_object(text).map_err(|error| Error::config(error.to_string())).or_raise(py)
}

/// A URI that names a prefix: the key may be empty.
pub(crate) fn prefix_uri(py: Python<'_>, text: &str) -> PyResult<ObjectUri> {
    ObjectUri::parse(text).map_err(|error| Error::config(error.to_string())).or_raise(py)
}

/// Flat options: name to number, text or truth.
pub(crate) fn options(mapping: &Bound<'_, PyMapping>) -> PyResult<Vec<(String, OptionValue)>> {
    mapping
        .items()?
        .iter()
        .map(|item| {
            let (name, value) = item.extract::<(String, Bound<'_, PyAny>)>()?;
            Ok((name, option_value(&value)?))
        })
        .collect()
}

fn option_value(value: &Bound<'_, PyAny>) -> PyResult<OptionValue> {
    if value.is_instance_of::<PyBool>() {
        Ok(OptionValue::Boolean(value.extract()?))
    } else if value.is_instance_of::<PyInt>() {
        Ok(OptionValue::Integer(value.extract()?))
    } else if value.is_instance_of::<PyFloat>() {
        Ok(OptionValue::Float(value.extract()?))
    } else if value.is_instance_of::<PyString>() {
        Ok(OptionValue::Text(value.extract()?))
    } else {
        Err(PyTypeError::new_err("an option is an int, a float, a str or a bool"))
    }
}

/// Positions of an index: a `Share`, a `range`, or any sequence of integers.
pub(crate) fn positions(given: &Bound<'_, PyAny>) -> PyResult<Box<dyn Iterator<Item = u64> + Send>> {
    if let Ok(share) = given.cast::<Share>() {
        return Ok(share.get().positions());
    }
    if let Ok(range) = given.cast::<PyRange>() {
        let (start, stop, step) = (range.start()?, range.stop()?, range.step()?);
        let count = range.len()?;
        if count == 0 {
            return Ok(Box::new(std::iter::empty()));
        }
        if start < 0 || (step < 0 && stop < -1) {
            return Err(PyValueError::new_err("positions are not negative"));
        }
        let (start, step) = (start as u64, step as i64);
        return Ok(Box::new((0..count as i64).map(move |number| start.wrapping_add_signed(number * step))));
    }
    Ok(Box::new(given.extract::<Vec<u64>>()?.into_iter()))
}
