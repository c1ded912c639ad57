//! Completions in real shells, at a terminal: a word is begun, the tabulator is pressed, and the rest of it comes.

use std::process::Command;

use tests::binaries::binary;
use tests::ecr_stub::EcrStub;
use tests::site::repository;

/// Types into a shell at a terminal, as a person does, until the words are there or half a minute is over.
const TERMINAL: &str = r#"
import os, pty, select, sys, time
shell, setup, typed, wanted = sys.argv[1].split(), sys.argv[2], sys.argv[3], sys.argv[4:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(shell[0], shell)
def read(seconds, until=()):
    out, end = b'', time.time() + seconds
    while time.time() < end and not (until and all(word.encode() in out for word in until)):
        if select.select([fd], [], [], 0.1)[0]:
            try:
                out += os.read(fd, 65536)
            except OSError:
                break
    return out
read(2)
os.write(fd, (setup + '; echo rea''dy\n').encode())
read(20, ['ready\r\n'])
time.sleep(0.5)
os.write(fd, typed.encode() + b'\t')
out = read(3, wanted)
if not all(word.encode() in out for word in wanted):
    os.write(fd, b'\t')
    out += read(20, wanted)
os.kill(pid, 9)
sys.stdout.write(out.decode(errors='replace'))
"#;

fn registry() -> EcrStub {
    let aws = EcrStub::start();
    aws.with(|registry| {
        for name in ["team/app", "team/web", "shop/api"] {
            registry.repositories.insert(name.to_owned(), repository(name));
        }
    });
    aws
}

/// What a shell shows when a line is begun and the tabulator pressed.
fn shown(aws: &EcrStub, shell: &str, setup: &str, typed: &str, wanted: &[&str]) -> String {
    let folder = binary("ecr-steward").parent().unwrap();
    let home = tempfile::tempdir().unwrap();
    let output = Command::new("python3")
        .args(["-c", TERMINAL, shell, setup, typed])
        .args(wanted)
        .env_clear()
        .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", folder.display()))
        .env("TERM", "xterm")
        .env("HOME", home.path())
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn completes(shell: &str, setup: &str) {
    let aws = registry();
    for (typed, wanted) in [
        ("ecr-steward pre", &["preview"][..]),
        ("ecr-steward preview --all-pa", &["--all-passes"]),
        ("ecr-steward policy res", &["restore"]),
        ("ecr-steward preview --repository shop/", &["shop/api"]),
        ("ecr-steward images list team/", &["team/app", "team/web"]),
        ("ecr-steward in-use --region eu-north", &["eu-north-1"]),
        ("ecr-steward enforce --output h", &["html"]),
        ("ecr-steward explain-code limit-per", &["limit-percent"]),
    ] {
        let output_text = shown(&aws, shell, setup, typed, wanted);
        for word in wanted {
            assert!(output_text.contains(word), "{shell}: {typed}: {output_text:?}");
        }
    }
}

#[test]
fn bash_completes_commands_options_and_values() {
    completes("bash --norc -i", "source <(ecr-steward completions bash)");
}

#[test]
#[cfg(feature = "debian")]
fn zsh_completes_commands_options_and_values() {
    local::tools::debian(&["zsh"]).unwrap();
    completes("zsh -f -i", "autoload -U compinit; compinit -u; source <(ecr-steward completions zsh)");
}

#[test]
#[cfg(feature = "debian")]
fn fish_completes_commands_options_and_values() {
    local::tools::debian(&["fish"]).unwrap();
    completes("fish --no-config -i", "ecr-steward completions fish | source");
}

#[test]
fn every_help_has_examples_and_every_command_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let output = Command::new(binary("ecr-steward")).arg("man").arg(&pages).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut names: Vec<String> = std::fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".1").to_owned())
        .collect();
    names.sort();
    assert!(names.len() > 20, "{names:?}");
    for command in ["check", "enforce", "policy-restore", "repository-create", "images-list", "runs-show"] {
        assert!(names.contains(&format!("ecr-steward-{command}")), "{command}: {names:?}");
    }
    for name in names.iter().filter(|name| *name != "ecr-steward") {
        // `protection-rule`, `in-use` and `explain-code` have hyphens of their own.
        let words = name.trim_start_matches("ecr-steward-");
        let words: Vec<&str> = match words {
            "protection-rule" | "in-use" | "explain-code" => vec![words],
            words => words.split('-').collect(),
        };
        let output = Command::new(binary("ecr-steward")).args(&words).arg("--help").output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("\nExamples:\n  "), "{name}: {help}");
    }
    let output = Command::new(binary("ecr-steward")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let first: String = help.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    assert!(first.contains("no image that is known to be in use is deleted"), "{first}");
}
