//! The thread that writes: while files wait for the disk, the next chunks are encoded.

use super::checkpoint::Checkpoint;
use super::encoder::Batch;
use super::store::StoreWriter;
use anyhow::Context;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// What there is to do, in order.
pub(super) enum Order {
    /// Append these rows.
    Rows(Batch),
    /// Bring everything to the disk, and note that.
    Checkpoint(Box<Checkpoint>),
}

/// Writes until it is dropped, and is done with it then.
pub(super) struct Writing {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<anyhow::Result<StoreWriter>>>,
}

impl Writing {
    /// # Errors
    /// There can be no more threads.
    pub(super) fn start(writer: StoreWriter, dir: PathBuf) -> anyhow::Result<Self> {
        let (send, receive) = sync_channel(1);
        let thread = std::thread::Builder::new().name("write".into()).spawn(move || carry_out(writer, &receive, &dir));
        Ok(Self { orders: Some(send), thread: Some(thread.context("cannot start a thread to write")?) })
    }

    /// Gives an order; waits while the ones before are not done.
    ///
    /// # Errors
    /// An order before could not be carried out.
    pub(super) fn order(&mut self, order: Order) -> anyhow::Result<()> {
        if self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok()) {
            return Ok(());
        }
        self.join().and_then(|_| Err(anyhow::anyhow!("the thread that writes ended early")))
    }

    /// Waits until all orders are carried out; there can be no more then.
    ///
    /// # Errors
    /// One could not be.
    pub(super) fn finished(&mut self) -> anyhow::Result<()> {
        self.join().map(drop)
    }

    /// [`Self::finished`], and the files are to be completed.
    ///
    /// # Errors
    /// An order could not be carried out.
    pub(super) fn end(mut self) -> anyhow::Result<StoreWriter> {
        self.join()
    }

    fn join(&mut self) -> anyhow::Result<StoreWriter> {
        self.orders = None;
        let thread = self.thread.take().context("nothing is written any more")?;
        thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the thread that writes ended early")))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.orders = None;
        // The error that ends the work is another, and has been told.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn carry_out(mut writer: StoreWriter, orders: &Receiver<Order>, dir: &std::path::Path) -> anyhow::Result<StoreWriter> {
    for order in orders {
        match order {
            Order::Rows(batch) => {
                batch.chunks.iter().try_for_each(|rows| writer.push(rows))?;
                writer.push_learnt(&batch.learnt)?;
            }
            Order::Checkpoint(mut checkpoint) => {
                checkpoint.writer = Some(writer.save()?);
                checkpoint.write(dir)?;
            }
        }
    }
    Ok(writer)
}
