//! The commands on the pages do what the pages say: those that need only this machine are run, each for a second.

use std::fmt::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use super::pages::{self, Page};
use crate::support::ports::unused_address;
use crate::support::process::{Folder, Process};
use crate::support::sse::Sse;
use crate::support::wire::GUARD;

/// How long one command may take: streams are cut off there.
const SECONDS: u32 = 1;

/// Stands in front of a page's commands. Each curl says what came of it on standard error.
fn prelude(url: &str, version: &str) -> String {
    format!(
        "curl() {{\n  command curl -sS --max-time {SECONDS} -w '%{{stderr}}status %{{http_code}}\\n' \"$@\"\n  \
         local code=$?; echo \"exit $code of $*\" >&2; return $code\n}}\nURL={url}\nVERSION={version}\n"
    )
}

/// Whether a block is for the demo of this machine.
fn is_for_the_demo(text: &str) -> bool {
    let asks = text.contains("curl ") && !text.contains("tests/run");
    let of_the_demo = ["/auction/", "\"$URL", "/-/pollcast/", ":9090/"];
    asks && of_the_demo.iter().any(|part| text.contains(part))
}

/// Runs the commands of a page against a demo; fails the test if one of them does not get an answer.
fn run(page: &Page, listen: &str, admin: &str) -> usize {
    let folder = Folder::new();
    let mut script = prelude(&format!("http://{listen}/auction/1"), "none");
    let blocks = page.blocks();
    for block in blocks.iter().filter(|block| block.language == "sh" && is_for_the_demo(&block.text)) {
        let scratch = format!("{}/", folder.path.display());
        let text = block.text.replace("/tmp/", &scratch);
        let text = text.replace("127.0.0.1:8080", listen).replace("127.0.0.1:9090", admin);
        writeln!(script, "{text}").expect("a string");
    }
    let output = Command::new("bash").arg("-c").arg(&script).output().expect("Debian's package bash");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut status = "none";
    let mut commands = 0;
    for line in said.lines() {
        if let Some(code) = line.strip_prefix("status ") {
            status = code;
        } else if let Some(rest) = line.strip_prefix("exit ") {
            let (code, what) = rest.split_once(" of ").expect("as the prelude writes it");
            // A stream, or a held poll, is cut off by the clock (28): a held poll has no status then.
            let is_held = code == "28" && what.contains("wait=");
            assert!(matches!(code, "0" | "28"), "{}: curl {what}: {said}", page.name());
            let is_good =
                matches!(status, "101" | "200" | "204" | "226" | "304") || is_held && status == "000";
            assert!(is_good, "{}: curl {what}: status {status}", page.name());
            commands += 1;
        }
    }
    assert!(!said.contains("not found"), "{}: {said} (Debian's packages curl and sed)", page.name());
    commands
}

#[tokio::test]
async fn commands_for_the_demo_get_their_answers() {
    let folder = Folder::new();
    let [listen, admin] = [(); 2].map(|()| unused_address().to_string());
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
    command.args(["demo", "--listen", &listen, "--admin", &admin]);
    let process = Process::run(command, folder);
    let until = Instant::now() + GUARD;
    while tokio::net::TcpStream::connect(&listen).await.is_err() {
        assert!(Instant::now() < until, "{}", process.stderr());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The call for writes that go another way wants a resource that is there.
    let mut follower = Sse::open(listen.parse().expect("an address"), "/auction/1", &[]).await;
    follower.next_event().await;
    let pages = pages::all().into_iter().map(|page| {
        let (listen, admin) = (listen.clone(), admin.clone());
        tokio::task::spawn_blocking(move || run(&page, &listen, &admin))
    });
    let mut commands = 0;
    for page in pages.collect::<Vec<_>>() {
        commands += page.await.expect("the commands of a page");
    }
    assert!(commands >= 15, "the pages have {commands} commands for the demo");
    drop(follower);
    process.signal("INT");
    process.wait_exit().await;
}

/// The commands of a line that begin with the program and need nothing beside this machine.
fn own(line: &str) -> Option<Vec<&str>> {
    let line = line.split(" #").next().unwrap_or(line);
    let line = line.split(" > ").next().unwrap_or(line);
    let arguments =
        line.trim().strip_prefix("target/release/").unwrap_or(line.trim()).strip_prefix("pollcast ")?;
    let needs_only_files = arguments.starts_with("schema")
        || arguments.starts_with("check --config conf/") && !arguments.contains("--probe");
    needs_only_files.then(|| arguments.split_whitespace().collect())
}

#[test]
fn commands_of_the_program_succeed() {
    let mut commands = 0;
    for page in pages::all() {
        for block in page.blocks().iter().filter(|block| block.language == "sh") {
            for arguments in block.text.lines().filter_map(own) {
                let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
                let output = command.args(&arguments).current_dir(pages::root()).output().expect("it runs");
                assert!(output.status.success(), "{}: {arguments:?}: {output:?}", page.name());
                commands += 1;
            }
        }
    }
    assert!(commands >= 3, "the pages have {commands} commands of the program alone");
}
