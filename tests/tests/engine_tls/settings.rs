//! TLS by the settings alone, without a line of code.

use std::sync::Arc;

use throng::{Config, Engine, StartError, Tls};
use throng_tests::engine::{beside, config};
use throng_tests::tls::{Authority, SERVER};
use tokio_tungstenite::tungstenite::Message as Sent;

use super::{Telling, connect, heard, secure};
use tokio::io::AsyncReadExt;

/// The files that the settings name.
struct Files {
    folder: tempfile::TempDir,
    servers: Authority,
    clients: Authority,
}

fn files() -> Files {
    let folder = tempfile::tempdir().unwrap();
    let (servers, clients) = (Authority::new(), Authority::new());
    let signed = servers.sign(SERVER);
    for (name, pem) in [
        ("server.pem", &signed.certificate),
        ("server.key", &signed.key),
        ("clients.pem", &clients.pem()),
    ] {
        std::fs::write(folder.path().join(name), pem).unwrap();
    }
    Files {
        folder,
        servers,
        clients,
    }
}

fn start(config: Config) -> Result<Engine, StartError> {
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    let builder = builder.config(config).handler(Telling);
    beside(|| builder.start())
}

#[tokio::test]
async fn a_certificate_and_its_key_make_an_engine_speak_tls() {
    let files = files();
    let path = |name| files.folder.path().join(name);
    let settings = config()
        .tls_certificate(path("server.pem"))
        .tls_key(path("server.key"));
    let engine = start(settings).unwrap();
    let client = Arc::new(files.servers.client(None));
    let told = "secure true to localhost with 0 certificates of 0 bytes";
    assert_eq!(
        heard(&mut connect(&engine, &client).await).await,
        Sent::text(told)
    );
}

#[tokio::test]
async fn a_certificate_of_the_settings_changes_while_the_engine_runs() {
    let files = files();
    let path = |name| files.folder.path().join(name);
    let settings = config()
        .tls_certificate(path("server.pem"))
        .tls_key(path("server.key"));
    let engine = start(settings).unwrap();
    let handle = engine.handle();
    let signed = files.servers.sign(SERVER);
    std::fs::write(path("server.pem"), &signed.certificate).unwrap();
    std::fs::write(path("server.key"), &signed.key).unwrap();
    handle.tls().unwrap().reload().unwrap();
    let client = Arc::new(files.servers.client(None));
    let mut client = connect(&engine, &client).await;
    heard(&mut client).await;
    let (_, session) = client.get_ref().get_ref();
    assert_eq!(session.peer_certificates().unwrap()[0], signed.der());
    assert_eq!(handle.tls().unwrap().counts().completed, 1);
    let without = start(config()).unwrap();
    assert!(without.tls().is_none());
}

#[tokio::test]
async fn an_authority_makes_clients_show_certificates() {
    let files = files();
    let path = |name| files.folder.path().join(name);
    let settings = config()
        .tls_certificate(path("server.pem"))
        .tls_key(path("server.key"))
        .tls_client_ca(path("clients.pem"));
    let engine = start(settings).unwrap();
    let signed = files.clients.sign("somebody");
    let known = Arc::new(files.servers.client(Some(&signed)));
    let size = signed.der().len();
    let told = format!("secure true to localhost with 1 certificates of {size} bytes");
    assert_eq!(
        heard(&mut connect(&engine, &known).await).await,
        Sent::text(told)
    );
    let unknown = Arc::new(files.servers.client(None));
    // A client learns of it with the first bytes that it reads.
    if let Ok(mut stream) = secure(&engine, &unknown).await {
        assert!(stream.read_exact(&mut [0]).await.is_err());
    }
}

#[test]
fn files_that_cannot_be_used_keep_an_engine_from_starting() {
    let files = files();
    let path = |name| files.folder.path().join(name);
    let settings = config()
        .tls_certificate(path("server.pem"))
        .tls_key(path("nobody's.key"));
    let error = start(settings).expect_err("there is no such file");
    assert!(matches!(error, StartError::Tls(_)), "{error:?}");
    let told = error.to_string();
    assert!(
        told.starts_with("tls_certificate, tls_key, tls_client_ca: ")
            && told.contains("nobody's.key cannot be read: "),
        "{told}"
    );
}

/// Which of them holds is not to be guessed: the one may let in whom the other does not.
#[test]
fn tls_in_code_and_by_the_settings_keeps_an_engine_from_starting() {
    let files = files();
    let path = |name| files.folder.path().join(name);
    let settings = config()
        .tls_certificate(path("server.pem"))
        .tls_key(path("server.key"))
        .tls_client_ca(path("clients.pem"));
    let tls = Tls::from_pem_files(path("server.pem"), path("server.key")).unwrap();
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap().tls(tls);
    let builder = builder.config(settings).handler(Telling);
    let error = beside(|| builder.start()).expect_err("there are two");
    assert!(matches!(error, StartError::TlsTwice), "{error:?}");
}
