//! Where the API listens, and where it refuses to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs)]

use heald_api::ServerConfig;

fn at(listen: &[&str]) -> ServerConfig {
    ServerConfig { listen: listen.iter().map(|address| (*address).to_owned()).collect(), ..ServerConfig::default() }
}

#[tokio::test]
async fn several_ports_are_one_api() {
    let listeners = at(&["127.0.0.1:0", "localhost:0", "[::1]:0"]).bind().await.unwrap();
    assert_eq!(listeners.len(), 3);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = at(&["127.0.0.1:0", &address]).bind().await.unwrap_err().to_string();
    assert_eq!(said, format!("cannot listen on {address}: the port is in use"));
}

#[tokio::test]
async fn what_others_could_reach_is_refused_unless_insisted_on() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let said = at(&[address]).bind().await.unwrap_err().to_string();
        assert!(said.contains(address) && said.contains("insecure_bind"), "{said}");
        let insisting = ServerConfig { insecure_bind: true, ..at(&[address]) };
        assert!(insisting.bind().await.is_ok());
    }
}

#[tokio::test]
async fn nonsense_is_explained() {
    for (listen, word) in [(&[][..], "no address"), (&["8003"], "host:port"), (&["localhost:99999"], "host:port")] {
        let said = at(listen).bind().await.unwrap_err().to_string();
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn unknown_fields_are_errors() {
    assert!(serde_json::from_str::<ServerConfig>(r#"{"listen":["127.0.0.1:1"],"cors_origins":["*"]}"#).is_ok());
    assert!(serde_json::from_str::<ServerConfig>(r#"{"port":8003}"#).is_err());
}
