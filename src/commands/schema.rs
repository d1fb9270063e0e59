//! `schema`: the JSON Schema of the spec language, this build's plugins included.

use crate::ui::{Exit, Ui};
use anyhow::Result;
use esmm_funnel_core::spec::schema::schema;

pub fn run(ui: &Ui) -> Result<Exit> {
    ui.stdout(&format!("{:#}", schema()))?;
    Ok(Exit::Done)
}
