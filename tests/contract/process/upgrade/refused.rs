//! Changes of the process that are refused or fail, and what operators are told.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use super::{
    Crowd, Place, change, connects, follows_the_room, is_ready, restless, set_mode, stays, upgradable, yaml,
};
use crate::support::process::Process;
use crate::support::wire::within;

#[tokio::test]
async fn without_a_new_process_the_old_one_serves_on() {
    let (legacy, place) = (restless(), Place::new());
    let old = Process::start(&upgradable(&legacy, &place, "1s")).await;
    let mut crowd = Crowd::new(old.address);
    crowd.add("stays", stays);
    crowd.add("follows the room", follows_the_room);
    old.signal("QUIT");
    old.wait_stderr("this process goes on").await;
    assert!(old.stderr().contains("no new process took the sockets"), "{}", old.stderr());
    assert!(is_ready(&old).await);
    crowd.go_on(5).await;
    crowd.leave().await;
    assert_eq!(old.exited(), None);
}

#[tokio::test]
async fn a_new_process_that_cannot_start_changes_nothing() {
    let (legacy, place) = (restless(), Place::new());
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = (taken.local_addr().expect("bound"), taken);
    let config = upgradable(&legacy, &place, "20s");
    let old = Process::start(&config).await;
    let mut crowd = Crowd::new(old.address);
    crowd.add("connects", connects);
    crowd.add("follows the room", follows_the_room);
    let more = format!("PUBLIC_ADDRESS}}, {{address: '{}'}}]", taken.0);
    let broken = old.successor(&config.replace("PUBLIC_ADDRESS}]", &more));
    broken.wait_stderr("waiting for the sockets").await;
    old.signal("QUIT");
    assert_eq!(broken.wait_exit().await.code(), Some(1), "{}", broken.stderr());
    assert!(broken.stderr().contains(&format!("cannot listen on {}", taken.0)), "{}", broken.stderr());
    old.wait_stderr("this process goes on").await;
    assert!(old.stderr().contains("ended before it accepted connections"), "{}", old.stderr());
    crowd.go_on(5).await;
    // The next try may succeed.
    let new = old.successor(&config);
    change(&old, &new).await;
    assert_eq!(old.wait_exit().await.code(), Some(0));
    crowd.go_on(5).await;
    crowd.leave().await;
}

#[tokio::test]
async fn a_new_process_that_gets_no_answer_says_so_and_ends() {
    let (legacy, place) = (restless(), Place::new());
    let config = upgradable(&legacy, &place, "1s");
    let old = Process::start(&config).await;
    let new = old.successor(&config);
    assert_eq!(new.wait_exit().await.code(), Some(1), "{}", new.stderr());
    let said = new.stderr();
    let wanted = format!("upgrade.socket {}: no process handed", place.socket.display());
    assert!(said.contains(&wanted) && said.contains("within 1s"), "{said}");
    assert!(!place.socket.exists() && !said.contains("panicked"));
    assert!(is_ready(&old).await);
}

#[tokio::test]
async fn without_a_place_there_is_no_upgrade() {
    let legacy = restless();
    let old = Process::start(&yaml(&legacy, "")).await;
    let new = old.successor(&yaml(&legacy, ""));
    assert_eq!(new.wait_exit().await.code(), Some(1));
    assert!(new.stderr().contains("has no upgrade.socket"), "{}", new.stderr());
    old.signal("QUIT");
    old.wait_stderr("has no upgrade.socket").await;
    assert!(is_ready(&old).await);
}

#[tokio::test]
async fn a_place_that_others_can_enter_or_that_holds_something_else_is_refused() {
    let (legacy, place) = (restless(), Place::new());
    let config = upgradable(&legacy, &place, "5s");
    fs::write(&place.socket, "precious").expect("a file");
    let old = Process::start(&config).await;
    assert!(old.stderr().contains("an upgrade would fail"), "said at the start: {}", old.stderr());
    let refused = async |word: &str, times: usize| {
        let new = old.successor(&config);
        assert_eq!(new.wait_exit().await.code(), Some(1), "{}", new.stderr());
        old.signal("QUIT");
        let told = within("the refusal", async {
            while old.stderr().matches("this process goes on").count() < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            old.stderr()
        })
        .await;
        for said in [new.stderr(), told] {
            assert!(said.contains(word) && !said.contains("panicked"), "{said}");
        }
    };
    refused("is there already, and is no socket", 1).await;
    assert_eq!(fs::read_to_string(&place.socket).expect("still there"), "precious");
    fs::remove_file(&place.socket).expect("removed");
    set_mode(&place.folder.path, 0o755);
    refused("open to others (mode 755)", 2).await;
    assert!(is_ready(&old).await);
}

#[tokio::test]
async fn a_supervisor_is_told_which_process_serves() {
    let (legacy, place) = (restless(), Place::new());
    let config = upgradable(&legacy, &place, "20s");
    let notify = place.folder.path.join("notify.sock");
    let supervisor = tokio::net::UnixDatagram::bind(&notify).expect("a socket");
    let told = async || {
        let mut message = [0; 200];
        let length = within("word from the process", supervisor.recv(&mut message)).await.expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let environment = [("NOTIFY_SOCKET", notify.as_path())];
    let old = Process::start_told(&config, &environment).await;
    assert_eq!(told().await, format!("READY=1\nMAINPID={}\n", old.id()));
    let new = old.successor_told(&config, &environment);
    change(&old, &new).await;
    assert_eq!(told().await, format!("READY=1\nMAINPID={}\n", new.id()));
    assert_eq!(old.wait_exit().await.code(), Some(0), "{}", old.stderr());
}
