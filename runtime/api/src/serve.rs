//! Putting the API on sockets, and taking it off in order.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Answers under way when the end comes may take this long; event streams end by themselves.
const GRACE: Duration = Duration::from_secs(5);

/// Serves on every listener until `shutdown` comes, then lets answers under way finish, but not for ever.
///
/// # Errors
/// When a socket can no longer be used.
pub async fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (end, ended) = watch::channel(false);
    let mut servers = JoinSet::new();
    for listener in listeners {
        let mut ended = ended.clone();
        let told = async move {
            // An error means that the sender is gone, which is an end as well.
            let _ = ended.wait_for(|ended| *ended).await;
        };
        let router = router.clone();
        servers.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(told).await });
    }
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            finished = servers.join_next() => match finished {
                Some(finished) => finished.map_err(io::Error::other)??,
                None => return Ok(()),
            },
        }
    }
    let _ = end.send(true);
    let all = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::warn!("requests still under way are cut off");
    }
    Ok(())
}
