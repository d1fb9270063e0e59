//! What bad specs say.
