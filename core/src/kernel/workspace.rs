//! Buffers that are kept from one batch to the next: fresh pages cost more than the arithmetic between two products.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Buffers of one pass.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    /// Per tower and layer `[B, H]`: what follows the nonlinearity.
    pub activations: Vec<Vec<Vec<f32>>>,
    /// Per tower and shared part `[N, H₁]`: its product with the first layer, once per member.
    pub shared: Vec<Vec<Vec<f32>>>,
    /// Per tower `[B, H₁]`: the gradient of the first layer; only where there are shared parts.
    pub first: Vec<Vec<f32>>,
    /// Per lane: the gradients of all parameters, and two chunks of a gradient by a layer.
    pub lanes: Vec<Lane>,
    /// Buffers that have been given back.
    spare: Vec<Vec<f32>>,
}

/// What one lane of chunks sums into.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub parameters: Vec<f32>,
    pub scratch: [Vec<f32>; 2],
}

impl Workspace {
    /// A buffer of this length, of any content.
    pub fn take(&mut self, len: usize) -> Vec<f32> {
        let fits = self.spare.iter().position(|b| b.capacity() >= len && b.capacity() <= 2 * len.max(1024));
        let mut buffer = fits.map_or_else(Vec::new, |at| self.spare.swap_remove(at));
        resize(&mut buffer, len);
        buffer
    }
    /// Keeps a buffer for another time; only a few are.
    pub fn give(&mut self, buffer: Vec<f32>) {
        if self.spare.len() < 64 {
            self.spare.push(buffer);
        }
    }
}

/// Sets a buffer's length; what is in it is of no meaning.
pub(super) fn resize(buffer: &mut Vec<f32>, len: usize) {
    if buffer.len() > len {
        buffer.truncate(len);
    } else {
        buffer.resize(len, 0.0);
    }
}

/// Workspaces that nobody uses at the moment.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Workspace>>);
impl Pool {
    /// One of them, or a new one; it comes back when the guard goes.
    pub fn take(&self) -> Taken<'_> {
        let workspace = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        Taken { pool: self, workspace }
    }
}
/// See [`Pool::take`].
pub(crate) struct Taken<'a> {
    pool: &'a Pool,
    workspace: Workspace,
}
impl Deref for Taken<'_> {
    type Target = Workspace;
    fn deref(&self) -> &Workspace {
        &self.workspace
    }
}
impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut Workspace {
        &mut self.workspace
    }
}
impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let workspace = std::mem::take(&mut self.workspace);
        self.pool.0.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
    }
}
