//! `schema`: the JSON Schema of the spec language, this build's plugins included.

use crate::ui::{Exit, stdout};
use anyhow::Result;
use esmm_funnel_core::spec::schema::schema;

pub fn run() -> Result<Exit> {
    stdout(&format!("{:#}", schema()))?;
    Ok(Exit::Done)
}
