//! `pollcast explain`: by a file alone, and by a running process.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::contract::edge::support::{Extra, process_yaml};
use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply};
use crate::support::ports::unused_address;
use crate::support::process::{Folder, Process};

fn explain(folder: &Path, arguments: &[&str], token: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
    command.arg("explain").args(arguments).current_dir(folder).env_remove("POLLCAST_ADMIN_TOKEN");
    command.envs(token.map(|token| ("POLLCAST_ADMIN_TOKEN", token)));
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_file_alone_says_what_a_process_that_has_just_begun_would_do() {
    let folder = Folder::new();
    let nowhere = unused_address();
    let yaml = super::cases::yaml(&nowhere.to_string());
    folder.write("file.yaml", &yaml);
    let file = ["-c", "file.yaml"];
    let arguments = |more: &[&'static str]| [&file[..], more].concat();
    let told = explain(&folder.path, &arguments(&["/r/a", "-H", "Authorization: Bearer hunter2"]), None);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    let said = text(&told.stdout);
    assert!(said.contains("passes through") && said.contains("reason credentials"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");

    let told = explain(&folder.path, &arguments(&["/r/a?a=1", "--json"]), None);
    let json: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(
        (&json["outcome"]["after"], &json["poll"]["url"]),
        (&"poll".into(), &"/r/a?a=1".into()),
        "{json}"
    );
    // A URL that an operator found in a log moves no cursor.
    let told = text(&explain(&folder.path, &arguments(&["/r/a%00%1b%5b2J"]), None).stdout);
    assert!(told.contains("/r/a\\u0000\\u001b[2J") && !told.contains(['\u{1b}', '\0']), "{told:?}");
    let told = explain(&folder.path, &arguments(&["/r/a", "-X", "DELETE", "--json"]), None);
    let json: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(json["outcome"]["reason"], "method", "{json}");
}

#[test]
fn wrong_usage_is_64_and_tells_no_secret() {
    let folder = Folder::new();
    folder.write("file.yaml", &super::cases::yaml("127.0.0.1:1"));
    folder.write("bad.yaml", "listeners: none\n");
    let usages: [&[&str]; 5] = [
        &[],
        &["x", "-c", "file.yaml"],
        &["/a", "-c", "file.yaml", "-H", "hunter2"],
        &["/a", "-c", "bad.yaml"],
        &["/a", "-c", "file.yaml", "--admin", "127.0.0.1:1"],
    ];
    for arguments in usages {
        let told = explain(&folder.path, arguments, None);
        assert_eq!(told.status.code(), Some(64), "{arguments:?}: {}", text(&told.stderr));
        assert!(!text(&told.stderr).contains("hunter2") && told.stdout.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_running_process_says_what_it_knows() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let yaml = process_yaml(&legacy, Extra::default());
    let secret = "a-secret-of-operators";
    let yaml = yaml.replace(
        "admin: {address: 'ADMIN_ADDRESS'}",
        &format!("admin: {{address: 'ADMIN_ADDRESS', token: {secret}}}"),
    );
    let process = Process::start(&yaml).await;
    Http::connect(process.address).await.get("/r/a", &[]).await.expect(200);
    let folder = Folder::new();
    let admin = process.admin.to_string();
    let told = explain(&folder.path, &["/r/a", "--admin", &admin, "--json"], Some(secret));
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    let json: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert!(json["schedule"]["polls"].as_u64() >= Some(1), "{json}");
    let refused = explain(&folder.path, &["/r/a", "--admin", &admin], None);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    let absent = explain(&folder.path, &["/r/a", "--admin", &unused_address().to_string()], None);
    assert_eq!(absent.status.code(), Some(1));
}
