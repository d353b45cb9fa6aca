//! Answers of Redis, read field by field. A field that is not there is empty, or 0: so Redis tells what a record has not.
//!
//! Must not know: commands.

use bytes::Bytes;
use redis::Value;

use crate::cluster::engine::{Failed, Loss};

/// One answer.
pub(super) struct Reply(Value);

/// The parts of an answer that is a list.
pub(super) struct Fields(std::vec::IntoIter<Value>);

/// It answered something else than such a command is answered with.
pub(super) fn unexpected() -> Failed {
    Failed { loss: Loss::Protocol, message: "the engine answered something unexpected".to_owned() }
}

impl Reply {
    pub(super) fn new(value: Value) -> Reply {
        Reply(value)
    }

    pub(super) fn array(self) -> Result<Fields, Failed> {
        match self.0 {
            Value::Array(values) | Value::Set(values) => Ok(Fields(values.into_iter())),
            Value::Nil => Ok(Fields(Vec::new().into_iter())),
            _ => Err(unexpected()),
        }
    }

    pub(super) fn number(self) -> Result<u64, Failed> {
        match self.0 {
            Value::Nil => Ok(0),
            Value::Int(number) => u64::try_from(number).map_err(|_| unexpected()),
            Value::BulkString(text) => {
                let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
                number.ok_or_else(unexpected)
            }
            _ => Err(unexpected()),
        }
    }

    pub(super) fn bytes(self) -> Result<Bytes, Failed> {
        match self.0 {
            Value::Nil => Ok(Bytes::new()),
            Value::BulkString(bytes) => Ok(bytes.into()),
            Value::SimpleString(text) => Ok(text.into()),
            _ => Err(unexpected()),
        }
    }

    pub(super) fn text(self) -> Result<String, Failed> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| unexpected())
    }
}

impl Fields {
    fn field(&mut self) -> Reply {
        Reply(self.0.next().unwrap_or(Value::Nil))
    }

    pub(super) fn number(&mut self) -> Result<u64, Failed> {
        self.field().number()
    }

    pub(super) fn signed(&mut self) -> Result<i64, Failed> {
        match self.field().0 {
            Value::Int(number) => Ok(number),
            _ => Err(unexpected()),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, Failed> {
        self.field().bytes()
    }

    pub(super) fn text(&mut self) -> Result<String, Failed> {
        self.field().text()
    }

    pub(super) fn array(&mut self) -> Result<Fields, Failed> {
        self.field().array()
    }

    /// The next part, which is a list. Returns `None` at the end.
    pub(super) fn next_array(&mut self) -> Result<Option<Fields>, Failed> {
        self.0.next().map(|value| Reply(value).array()).transpose()
    }

    /// All that is left, as texts.
    pub(super) fn texts(self) -> Result<Vec<String>, Failed> {
        self.0.map(|value| Reply(value).text()).collect()
    }
}
