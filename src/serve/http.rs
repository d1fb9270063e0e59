//! Connections: accepted up to a limit, each served until it is idle at shutdown.

use super::metrics::Metrics;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How connections are held.
#[derive(Debug, Clone, Copy)]
pub struct Holding {
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// A head that takes longer ends its connection, as does an idle one.
    pub head: Duration,
    /// How long requests under way may take at shutdown.
    pub drain: Duration,
}

/// Serves until `stop`; then lets requests under way end. Gives whether all of them did in time.
pub async fn serve(listener: TcpListener, router: Router, holding: Holding, metrics: Arc<Metrics>, stop: impl Future<Output = ()>) -> bool {
    let (graceful, places) = (GracefulShutdown::new(), Arc::new(Semaphore::new(holding.connections)));
    tokio::pin!(stop);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            biased;
            () = &mut stop => break,
            (place, stream) = next => (place, stream),
        };
        let Ok((stream, _)) = stream else {
            // Out of file descriptors, or a connection that went away: neither is a reason to end.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Answers are whole when they are written.
        let _ = stream.set_nodelay(true);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(holding.head);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        let metrics = Arc::clone(&metrics);
        tokio::spawn(async move {
            metrics.connections.fetch_add(1, Relaxed);
            // A client that breaks off is its own affair.
            let _ = connection.await;
            metrics.connections.fetch_sub(1, Relaxed);
            drop(place);
        });
    }
    drop(listener);
    tokio::time::timeout(holding.drain, graceful.shutdown()).await.is_ok()
}
