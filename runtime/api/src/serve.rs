//! Serving the API on sockets, and ending in order.
//!
//! A connection that never completes its request is closed, so that a sender cannot hold it open.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long answers under way may take at the end; event streams end by themselves.
const GRACE: Duration = Duration::from_secs(5);

/// How long the head of a request may take to arrive, and how long an idle connection is kept.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long to wait when no descriptor or memory is left for a connection.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves on every listener until `shutdown` comes, then lets answers under way finish within a few seconds.
///
/// # Errors
///
/// When a socket can no longer be used.
pub async fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (end, ended) = watch::channel(false);
    let mut servers = JoinSet::new();
    for listener in listeners {
        servers.spawn(accept(listener, router.clone(), ended.clone()));
    }
    tokio::pin!(shutdown);
    tokio::select! {
        () = &mut shutdown => {}
        Some(finished) = servers.join_next() => finished.map_err(io::Error::other)?,
        else => return Ok(()),
    }
    let _ = end.send(true);
    let all = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::warn!("requests still under way are cut off");
    }
    Ok(())
}

/// Accepts connections until the end, and then waits for those under way.
async fn accept(listener: TcpListener, router: Router, mut ended: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Finished connections are removed at once.
            Some(_) = connections.join_next() => continue,
            () = over(&mut ended) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(converse(stream, router.clone(), ended.clone()));
            }
            Err(error) if of_the_peer(&error) => {}
            Err(error) => {
                tracing::error!("cannot take a connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection.
async fn converse(stream: TcpStream, router: Router, mut ended: watch::Receiver<bool>) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = over(&mut ended) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        tracing::debug!("a connection has broken off: {error}");
    }
}

/// Waits for the end.
async fn over(ended: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the end as well.
    let _ = ended.wait_for(|ended| *ended).await;
}

/// The peer closed the connection before it was accepted. This is no error of heald.
fn of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_ends_its_head_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut slow = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tokio::spawn(serve(vec![listener], Router::new(), std::future::pending()));
        slow.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await.unwrap();
        let mut said = Vec::new();
        let begun = tokio::time::Instant::now();
        tokio::time::timeout(HEAD_TIME * 3, slow.read_to_end(&mut said)).await.expect("it is held open").unwrap();
        assert!(begun.elapsed() >= HEAD_TIME, "{:?}", begun.elapsed());
    }
}
