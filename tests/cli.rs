//! The command line as a user meets it: real files in, output and exit codes out.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use shared::domain::enforcement::in_use_protection::{is_protected, takes_nothing};
use shared::domain::lifecycle::LifecyclePolicy;
use tests::binaries::{binary, fixture, workspace};

const NOW: &str = "2026-11-23T00:00:00Z";

/// A folder with the files of one test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Text with the folder's path, which differs from run to run, left out.
    fn plain(&self, text: &[u8]) -> String {
        String::from_utf8(text.to_vec()).unwrap().replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn steward(arguments: &[&str]) -> Output {
    Command::new(binary("ecr-steward"))
        .args(arguments)
        .env_remove("COLUMNS")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap()
}

/// How the line begins that says what explains the codes of findings.
const HINT: &str = "Why, and what to do: ecr-steward explain-code ";

/// The findings that `check` prints, without the lines of files below them.
fn findings(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with("  ")).collect()
}

fn with_input(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(binary("ecr-steward"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn path(path: PathBuf) -> String {
    path.to_str().unwrap().to_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const VALID: &str = r#"{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "untagged", "countType":
    "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}}]}"#;

#[test]
fn check_says_nothing_on_standard_output_about_a_valid_policy() {
    let folder = Folder::new();
    for (content, language) in [
        (VALID, "ECR policy document of 1 rule"),
        ("rules:\n- selection: any\n  maximumAgeLimit: 9\n", "simple policy of 1 rule"),
    ] {
        let output = steward(&["check", &folder.file("policy", content)]);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(stdout(&output), "");
        assert_eq!(folder.plain(&output.stderr), format!("policy: valid: {language}\n"));
    }
}

#[test]
fn check_warns_of_a_source_that_is_ignored_until_a_day_that_is_over() {
    let folder = Folder::new();
    let ignoring = |until| {
        let entry = format!("{{ source: eks/old, reason: gone, until: {until} }}");
        folder.file("policies.yaml", format!("policies: []\nusage:\n  ignore:\n    - {entry}\n"))
    };
    assert_eq!(steward(&["check", &ignoring("2999-12-31")]).status.code(), Some(0));
    let output = steward(&["check", "--output", "json", &ignoring("2020-12-31")]);
    assert_eq!(output.status.code(), Some(1));
    let findings: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(findings[0]["code"], "ignore-expired");
    assert_eq!(findings[0]["level"], "warning");
    assert_eq!((&findings[0]["line"], &findings[0]["column"]), (&4.into(), &47.into()));
    let explained = stdout(&steward(&["explain-code", "ignore-expired"]));
    assert!(explained.contains("until: 2020-12-31"), "the page has an example: {explained}");
}

#[test]
fn check_warns_of_a_policy_that_may_leave_almost_nothing_and_does_not_fail() {
    let folder = Folder::new();
    let policies = |limits: &str| {
        let entry = "  - name: everything\n    repositories: ['*']\n    apply: delete\n";
        let rules = "    rules:\n      - { selection: any, maximumNumberOfImages: 1 }\n";
        folder.file("policies.yaml", format!("policies:\n{entry}{rules}{limits}"))
    };
    let dangerous = policies("    limits: { images: 1000, percent: 100 }\n");
    let output = steward(&["check", &dangerous]);
    assert_eq!(output.status.code(), Some(0), "it may be meant");
    let printed = folder.plain(&output.stdout);
    assert!(
        printed.starts_with("policies.yaml:6:9: /policies/0/rules/0: leaves-almost-nothing: rule 1 deletes every image but the youngest, and the limits let it"),
        "{printed}"
    );
    assert!(
        printed.contains("6 |       - { selection: any") && printed.contains("`keep: { newest: 3 }`"),
        "{printed}"
    );
    assert!(stderr(&output).contains("valid: 1 policy, hash "), "{}", stderr(&output));
    let output = steward(&["check", "--output", "json", &dangerous]);
    assert_eq!(output.status.code(), Some(0));
    let findings: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&findings[0]["level"], &findings[0]["line"]), (&"warning".into(), &6.into()));
    let github = stdout(&steward(&["check", "--output", "github", &dangerous]));
    assert!(github.starts_with("::warning file="), "{github}");
    // With something else that is wrong it fails as ever, and without limits that are switched off there is nothing to say.
    let other =
        "  - { name: other, repositories: [a], rules: [{ selection: untagged, maximumAgeLimit: 1 }] }\n";
    let unreachable = policies(&format!("    limits: {{ percent: 100 }}\n{other}"));
    assert_eq!(steward(&["check", &unreachable]).status.code(), Some(1));
    let stopped = steward(&["check", &policies("")]);
    assert_eq!((stdout(&stopped), stopped.status.code()), (String::new(), Some(0)));
    let explained = stdout(&steward(&["explain-code", "leaves-almost-nothing"]));
    assert!(explained.contains("maximumNumberOfImages: 1"), "{explained}");
}

#[test]
fn numbers_of_hundreds_of_digits_are_not_repeated_in_messages() {
    let folder = Folder::new();
    let long = "9".repeat(300);
    let age = format!("rules:\n- {{ selection: untagged, maximumAgeLimit: {long} }}\n");
    let field = format!("rules:\n- {long}: 1\n");
    let image = |pushed_at: &str| {
        let digest = format!("sha256:{}", "a".repeat(64));
        folder
            .file("images.json", format!(r#"[{{"imageDigest": "{digest}", "imagePushedAt": {pushed_at}}}]"#))
    };
    let policy = folder.file("policy.yaml", "rules: [{ selection: untagged, maximumAgeLimit: 7 }]\n");
    let preview = |images: &str| steward(&["preview", "--policy", &policy, "--images", images]);
    for output in [
        steward(&["check", &folder.file("age.yaml", age)]),
        steward(&["check", &folder.file("field.yaml", field)]),
        preview(&image(&long)),
        preview(&image(&format!("\"{long}\""))),
    ] {
        assert!(!output.status.success());
        let printed = stdout(&output) + &stderr(&output);
        assert!(!printed.contains(&"9".repeat(250)) && !printed.contains(&"0".repeat(100)), "{printed}");
    }
}

#[test]
fn a_long_listing_is_refused_with_the_line_that_is_wrong() {
    let folder = Folder::new();
    let policy = folder.file("policy.yaml", "rules: [{ selection: untagged, maximumAgeLimit: 7 }]\n");
    let image = |number: usize| {
        format!("    {{\"imageDigest\": \"sha256:{number:064x}\", \"imagePushedAt\": 1700000000}}")
    };
    let mut lines: Vec<String> = (0..20_000).map(image).collect();
    lines[15_000] = lines[15_000].replace("1700000000", "\"soon\"");
    let images = folder.file("images.json", format!("{{\"imageDetails\": [\n{}\n]}}", lines.join(",\n")));
    let output = steward(&["preview", "--policy", &policy, "--images", &images]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(folder.plain(&output.stderr), @r#"
    ecr-steward: images.json:15002:118: /imageDetails/15000/imagePushedAt: `soon` is not a time; write it like 2026-11-23T00:00:00Z, with an offset or Z
      15002 | …000000000003a98", "imagePushedAt": "soon"},
            |                                          ^
    "#);
}

#[test]
fn check_prints_five_findings_for_five_mistakes_and_exits_1() {
    let folder = Folder::new();
    let policy = folder.file(
        "policy.json",
        r#"{"rules": [
            {"rulePriority": 1, "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed",
              "countNumber": 14}, "action": {"type": "expire"}},
            {"rulePriority": 1, "selection": {"tagStatus": "tagged", "tagPrefixList": [],
              "countType": "imageCountMoreThan", "countNumber": 5}, "action": {"type": "expire"}},
            {"rulePriority": 3, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan",
              "countNumber": 0}, "action": {"type": "delete"}}
        ]}"#,
    );
    let output = steward(&["check", &policy]);
    assert_eq!(output.status.code(), Some(1));
    let codes = "count-unit-missing empty-list duplicate-priority unknown-value number-out-of-range";
    assert_eq!(stderr(&output), format!("{HINT}{codes}\n"));
    insta::assert_snapshot!(folder.plain(&output.stdout), @r#"
    policy.json:2:46: /rules/0/selection: count-unit-missing: a limit by age needs its unit; add `"countUnit": "days"`
      2 | …       {"rulePriority": 1, "selection": {"tagStatus": "untagged", "countType…
        |                                          ^
    policy.json:4:87: /rules/1/selection/tagPrefixList: empty-list: `tagPrefixList` is empty; name at least one
      4 | …"tagStatus": "tagged", "tagPrefixList": [],
        |                                          ^
    policy.json:4:30: /rules/1/rulePriority: duplicate-priority: the rule with priority 1 is there already; give each rule a `rulePriority` of its own
      4 |             {"rulePriority": 1, "selection": {"tagStatus": "tagged", "tagPre…
        |                              ^
    policy.json:7:53: /rules/2/action/type: unknown-value: `type` is `delete`; write `expire` or `transition`
      7 |               "countNumber": 0}, "action": {"type": "delete"}}
        |                                                     ^
    policy.json:7:30: /rules/2/selection/countNumber: number-out-of-range: `countNumber` is 0; write a whole number of 1 or more
      7 |               "countNumber": 0}, "action": {"type": "delete"}}
        |                              ^
    "#);

    let output = steward(&["check", "--output", "json", &policy]);
    assert_eq!(output.status.code(), Some(1));
    let findings: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(findings.as_array().unwrap().len(), 5);
    assert_eq!(findings[0]["file"], policy.as_str());
    assert_eq!(findings[0]["code"], "count-unit-missing");
    assert_eq!(findings[0]["pointer"], "/rules/0/selection");
}

/// Every code that this program, reports and the HTTP API print.
fn all_codes() -> Vec<&'static str> {
    let findings = shared::domain::text::finding::Code::ALL.iter().map(|code| code.as_str());
    let problems = shared::handlers::http::Kind::ALL.iter().map(|kind| kind.name());
    let concerns = shared::report::attention::KINDS.iter().map(|kind| kind.code);
    findings.chain(problems).chain(concerns).collect()
}

#[test]
fn every_code_is_explained_without_an_account_and_a_misspelt_one_is_corrected() {
    for code in all_codes() {
        let output = steward(&["explain-code", code]);
        let text = stdout(&output);
        assert!(output.status.success() && text.starts_with(&format!("{code}\n\n")), "{code}: {output:?}");
        assert!(text.contains("\nDo: "), "{code} does not say what to do: {text}");
        assert!(!text.contains("](") && !text.contains("**"), "{code} is printed as Markdown: {text}");
    }
    let both = stdout(&steward(&["explain-code", "null-value", "urn:ecr-steward:problem:images-in-use"]));
    assert!(both.contains("\n    lifecyclePolicy:\n      rules:\n"), "an example stands as it is: {both}");
    assert!(both.contains("\nimages-in-use\n\nStatus 409."), "{both}");
    let output = steward(&["explain-code", "limit-percnt"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.starts_with("ecr-steward: there is no code `limit-percnt`; did you mean `limit-percent`"),
        "{error}"
    );
    let list = stdout(&steward(&["explain-code"]));
    for code in all_codes() {
        assert!(list.contains(&format!("\n  {code} ")), "{code} is not listed: {list}");
    }
}

#[test]
fn findings_for_people_end_with_the_command_that_explains_them_and_those_for_programs_do_not() {
    let folder = Folder::new();
    let broken =
        folder.file("policy.yaml", "rules:\n- { selection: any, selection: any }\n- { action: expire }\n");
    let errors_of = |arguments: &[&str]| String::from_utf8(steward(arguments).stderr).unwrap();
    let text = errors_of(&["check", &broken]);
    let codes = text.trim_end().rsplit_once(HINT).expect(&text).1;
    let printed = stdout(&steward(&["check", &broken]));
    assert!(codes.split(' ').all(|code| printed.contains(&format!(": {code}: "))), "{codes}: {printed}");
    assert!(
        steward(&[&["explain-code"], &codes.split(' ').collect::<Vec<_>>()[..]].concat()).status.success()
    );
    assert!(errors_of(&["check", "--output", "github", &broken]).contains(HINT));
    assert!(!errors_of(&["check", "--output", "json", &broken]).contains(HINT));
    let sarif: Value =
        serde_json::from_slice(&steward(&["check", "--output", "sarif", &broken]).stdout).unwrap();
    for rule in sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap() {
        assert!(rule["help"]["text"].as_str().unwrap().contains("\nDo: "), "{rule:#}");
        assert!(rule["help"]["markdown"].as_str().unwrap().contains("**Do**"), "{rule:#}");
        assert!(rule["helpUri"].is_null(), "the project is published nowhere yet");
    }
    let storefront = |file: &str| fixture("storefront").join(file).to_str().unwrap().to_owned();
    let (policy, images) = (storefront("policy.yaml"), storefront("images.json"));
    let preview = ["preview", "--policy", &policy, "--images", &images, "--now", "2026-11-23"];
    let output = steward(&preview);
    assert!(stdout(&output).contains(" finding"), "{}", stdout(&output));
    assert!(String::from_utf8(output.stderr).unwrap().contains(HINT));
    assert!(!errors_of(&[&preview[..], &["--output", "json"]].concat()).contains(HINT));
}

#[test]
fn check_says_in_one_line_why_a_file_is_no_policy() {
    let folder = Folder::new();
    let mut long = VALID.to_owned();
    long.push_str(&" ".repeat(30_721 - long.len()));
    let directory = folder.0.path().to_str().unwrap().to_owned();
    let mut lines = String::new();
    for (file, code) in [
        (folder.file("long.json", long), 1),
        (folder.file("broken.json", "{\"rules\": [}"), 1),
        (folder.file("list.json", "[]"), 1),
        (folder.file("comment.yaml", "# nothing yet\n"), 1),
        (folder.file("latin1.json", b"{\"rules\": [], \"caf\xe9\": 1}"), 2),
        (folder.file("empty.json", ""), 2),
        (folder.file("blank.json", " \n\n"), 2),
        (folder.file("huge.json", vec![b'['; 2_000_000]), 2),
        (directory.clone(), 2),
        (format!("{directory}/missing.json"), 2),
    ] {
        let output = steward(&["check", &file]);
        assert_eq!(output.status.code(), Some(code), "{file}");
        let (output_text, other) =
            if code == 1 { (&output.stdout, &output.stderr) } else { (&output.stderr, &output.stdout) };
        let other = String::from_utf8_lossy(other);
        let is_hint = code == 1 && other.starts_with(HINT) && other.lines().count() == 1;
        assert!(is_hint || other.is_empty(), "{file}: {other}");
        let output_text = folder.plain(output_text).replace(&directory, "folder");
        assert_eq!(findings(&output_text).len(), 1, "{output_text}");
        lines.push_str(&output_text);
    }
    insta::assert_snapshot!(lines, @r#"
    long.json: /: policy-too-long: the policy has 30,721 characters; ECR accepts at most 30,720: shorten descriptions, merge rules or remove white space
    broken.json:1:12: /: syntax: not JSON: `}` where a value is needed
      1 | {"rules": [}
        |            ^
    list.json: /: wrong-type: a list where a policy, an object with `rules`, is needed
    comment.yaml: /: wrong-type: there is no policy in it; write one, or `{}` for the default policy
    ecr-steward: latin1.json: line 1, byte 19: it is not UTF-8 text; it looks like Latin-1 or Windows-1252: iconv -f WINDOWS-1252 -t UTF-8
    ecr-steward: empty.json: is empty
    ecr-steward: blank.json: is empty
    ecr-steward: huge.json: is larger than 1048576 bytes, too large for a policy; is it the right file?
    ecr-steward: folder: is a directory; name a file
    ecr-steward: missing.json: no such file
    "#);
}

#[test]
fn check_reads_all_files_and_standard_input() {
    let folder = Folder::new();
    let (good, bad) = (folder.file("good", VALID), folder.file("bad", "{}x"));
    let output = steward(&["check", &bad, &good]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(findings(&stdout(&output)).len(), 1);
    assert!(stderr(&output).contains("good: valid"));

    let output = steward(&["check", &folder.file("empty", ""), &bad, &good]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(findings(&stdout(&output)).len(), 1, "the finding about the bad one");
    assert_eq!(
        stderr(&output).lines().count(),
        3,
        "a line about the good one, one about the empty one, and what explains the finding"
    );

    let output = with_input(&["check", "-"], VALID);
    assert_eq!(stderr(&output), "standard input: valid: ECR policy document of 1 rule\n");
}

#[test]
fn the_example_policies_are_valid() {
    let mut checked = 0;
    for entry in fs::read_dir(workspace().join("infra/examples/policies")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension != "md") {
            checked += 1;
            let output = steward(&["check", &path(file)]);
            assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
        }
    }
    assert!(checked >= 4);
}

#[test]
fn the_policies_file_in_the_readme_is_valid() {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let policy = readme.split_once("```yaml\npolicies:").unwrap().1.split_once("```").unwrap().0;
    let output = with_input(&["check", "-"], &format!("policies:{policy}"));
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()));
}

#[test]
fn check_says_the_hash_of_a_policies_file_and_how_to_approve_it() {
    let text = "policies:\n- { name: all, repositories: ['*'], rules: [{ selection: untagged, maximumAgeLimit: 14 }] }\n";
    let output = with_input(&["check", "-"], text);
    assert_eq!(output.status.code(), Some(0));
    let output_text = stderr(&output);
    let (_, hash) = output_text.split_once("valid: 1 policy, hash ").unwrap();
    let (hash, _) = hash.split_once(';').unwrap();
    assert!(hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{output_text}");
    let approve = format!("approve: \"{hash}\"\n");
    assert!(output_text.ends_with(&approve), "{output_text}");
    // What it prints is what the file has to say; and then it is the same file.
    let output = with_input(&["check", "-"], &format!("{text}{approve}"));
    assert!(
        stderr(&output).contains(&format!("hash {hash}; the file approves itself")),
        "{}",
        stderr(&output)
    );
}

#[test]
fn check_knows_builds_yaml_by_its_name_and_by_what_it_says() {
    let output = steward(&["check", &path(workspace().join("infra/examples/builds/builds.yaml"))]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stderr(&output).ends_with("builds.yaml: valid: 3 builds\n"), "{}", stderr(&output));
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let policies_file = readme.split_once("```yaml\nbuilds:").unwrap().1.split_once("```").unwrap().0;
    let output = with_input(&["check", "-"], &format!("builds:{policies_file}"));
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()));

    let output = with_input(&["check", "-"], "builds:\n  - repositoryName: app\n    profile: fargate\n");
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.starts_with("standard input:3:14: /builds/0/profile: ") && text.contains("`ecs`"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("builds.yaml");
    fs::write(&file, "bulds: []\n").unwrap();
    let output = steward(&["check", &path(file)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("did you mean `builds`?"), "{}", stdout(&output));
}

#[test]
fn compile_prints_a_document_that_check_accepts_and_compile_turns_back() {
    let folder = Folder::new();
    let simple = folder.file(
        "simple.yaml",
        "lifecyclePolicy:\n  rules:\n  - selection: any\n    maximumNumberOfImages: 100\n  - description: builds\n    \
         tagStatus: tagged\n    tagPrefixList: [ci-]\n    maximumAgeLimit: 30\n  - selection: {tagPatternList: ['*-rc*']}\n    \
         maximumDaysSincePull: 60\n    action: archive\n",
    );
    let output = steward(&["compile", &simple]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    insta::assert_snapshot!(stdout(&output), @r#"
    {
      "rules": [
        {
          "rulePriority": 1,
          "description": "builds",
          "selection": {
            "tagStatus": "tagged",
            "tagPrefixList": [
              "ci-"
            ],
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": 30
          },
          "action": {
            "type": "expire"
          }
        },
        {
          "rulePriority": 2,
          "selection": {
            "tagStatus": "tagged",
            "tagPatternList": [
              "*-rc*"
            ],
            "countType": "sinceImagePulled",
            "countUnit": "days",
            "countNumber": 60
          },
          "action": {
            "type": "transition",
            "targetStorageClass": "archive"
          }
        },
        {
          "rulePriority": 3,
          "selection": {
            "tagStatus": "any",
            "countType": "imageCountMoreThan",
            "countNumber": 100
          },
          "action": {
            "type": "expire"
          }
        }
      ]
    }
    "#);

    let document = folder.file("document.json", stdout(&output));
    assert_eq!(steward(&["check", &document]).status.code(), Some(0));
    let back = steward(&["compile", "--to", "simple", &document]);
    insta::assert_snapshot!(stdout(&back), @r#"
    rules:
    - description: builds
      selection:
        tagPrefixList:
        - ci-
      maximumAgeLimit: 30
    - selection:
        tagPatternList:
        - "*-rc*"
      maximumDaysSincePull: 60
      action: archive
    - selection: any
      maximumNumberOfImages: 100
    "#);
    let again = steward(&["compile", &folder.file("again.yaml", stdout(&back))]);
    assert_eq!(stdout(&again), stdout(&output));
    assert_eq!(stdout(&steward(&["compile", "--compact", &document])).lines().count(), 1);
}

#[test]
fn compile_knows_the_default_policy_and_the_policy_that_is_none() {
    let folder = Folder::new();
    let output = steward(&["compile", "--compact", &folder.file("default.yaml", "lifecyclePolicy: {}\n")]);
    assert_eq!(
        stdout(&output),
        "{\"rules\":[{\"rulePriority\":1,\"description\":\"remove untagged images\",\"selection\":{\"tagStatus\":\
         \"untagged\",\"countType\":\"imageCountMoreThan\",\"countNumber\":1},\"action\":{\"type\":\"expire\"}}]}\n"
    );
    let output = steward(&["compile", &folder.file("skip.yaml", "skip: true\n")]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()));
    assert_eq!(
        folder.plain(&output.stderr),
        "skip.yaml: skip: true, so there is no lifecycle policy to print\n"
    );
}

#[test]
fn compile_refuses_what_the_simple_model_cannot_say() {
    let folder = Folder::new();
    let document = VALID.replace("\"rulePriority\": 1", "\"rulePriority\": 10");
    let output = steward(&["compile", "--to", "simple", &folder.file("document.json", document)]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(folder.plain(&output.stderr), @"ecr-steward: document.json: /rules/0/rulePriority: the simple model numbers its rules 1, 2, 3 …, and here a rule has priority 10 where 1 is expected; renumber the rules first");
}

#[test]
fn diff_compares_policies_by_what_they_do() {
    let folder = Folder::new();
    let document = folder.file("document.json", VALID);
    let same = folder.file("same.yaml", "rules: [{selection: untagged, maximumNumberOfImages: 1}]");
    let other = folder.file("other.yaml", "rules: [{selection: untagged, maximumNumberOfImages: 2}]");
    let none = folder.file("none.yaml", "skip: true");
    let diff = |from: &str, to: &str| {
        let output = steward(&["diff", from, to]);
        (output.status.code().unwrap(), stdout(&output))
    };
    assert_eq!(diff(&document, &same), (0, String::new()));
    assert_eq!(diff(&none, &none), (0, String::new()));
    assert_eq!(
        diff(&document, &other),
        (
            1,
            "changed rule 1: expire untagged images beyond the youngest 1 → rule 1: expire untagged images beyond the \
             youngest 2\n"
                .to_owned()
        )
    );
    assert_eq!(diff(&document, &none), (1, "removed the policy\n".to_owned()));
    assert_eq!(
        diff(&none, &same),
        (1, "added rule 1: expire untagged images beyond the youngest 1\n".to_owned())
    );
    assert_eq!(diff(&document, &folder.file("bad", "{}x")).0, 2);
}

fn storefront(more: &[&str]) -> Output {
    let policy = path(fixture("storefront/policy.yaml"));
    let images = path(fixture("storefront/images.json"));
    let mut arguments = vec!["preview", "--policy", &policy, "--images", &images, "--now", NOW];
    arguments.extend(more);
    let output = steward(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output
}

#[test]
fn the_preview_of_a_repository_fits_in_80_columns() {
    let table = stdout(&storefront(&[]));
    let widest = table.lines().max_by_key(|line| line.chars().count()).unwrap();
    assert!(widest.chars().count() <= 80, "{widest}");
    assert!(!table.contains('\u{1b}'), "no colours in a pipe");
    insta::assert_snapshot!("storefront_table", table);
}

#[test]
fn a_preview_is_read_at_every_width() {
    for width in [60, 72, 80, 100, 120, 160, 200] {
        for more in [&["--show", "all"][..], &["--show", "all", "--all-passes"], &["--summary"]] {
            let policy = path(fixture("storefront/policy.yaml"));
            let images = path(fixture("storefront/images.json"));
            let output = Command::new(binary("ecr-steward"))
                .args(["preview", "--policy", &policy, "--images", &images, "--now", NOW])
                .args(more)
                .env("COLUMNS", width.to_string())
                .env_remove("CLICOLOR_FORCE")
                .output()
                .unwrap();
            let text = stdout(&output);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}: {text}");
            let images =
                text.lines().filter(|line| line.contains("  expire  ") || line.contains(" expire ")).count();
            // Words stay whole, and an image takes a line or two.
            if !more.contains(&"--summary") {
                assert!(images > 100 && text.lines().count() < 379 * 3, "{width}: {}", text.lines().count());
                let whole = "pushed > 14 d ago";
                assert!(width >= 190 || text.contains(whole), "{width}: {text}");
            }
        }
    }
}

#[test]
fn kept_images_are_shown_with_what_keeps_them() {
    let kept = stdout(&storefront(&["--show", "kept"]));
    assert!(kept.lines().skip(3).take(200).all(|line| line.contains(" keep ")), "{kept}");
    assert!(
        kept.contains("rule 2: rank 40, keeps 40") && kept.contains("rule 6: until 2027-05-16"),
        "{kept}"
    );
    let all = stdout(&storefront(&["--show", "all", "--sort", "size"]));
    let rows =
        |text: &str, action: &str| text.lines().filter(|line| line.contains(&format!(" {action} "))).count();
    assert_eq!(rows(&all, "keep"), rows(&kept, "keep"));
    assert_eq!(rows(&all, "expire"), rows(&stdout(&storefront(&[])), "expire"));
    // The largest is first, whatever becomes of it.
    let json: Value = serde_json::from_slice(&storefront(&["--output", "json"]).stdout).unwrap();
    let images = ["previewResults", "kept"].into_iter().flat_map(|list| json[list].as_array().unwrap());
    let largest = images.max_by_key(|image| image["imageSizeInBytes"].as_u64()).unwrap();
    let size = largest["imageSizeInBytes"].as_u64();
    let first = all.lines().nth(3).unwrap().split_whitespace().next().unwrap();
    let mut found = ["previewResults", "kept"].into_iter().flat_map(|list| json[list].as_array().unwrap());
    let first = found.find(|image| image["imageDigest"].as_str().unwrap()[7..].starts_with(first)).unwrap();
    assert_eq!(first["imageSizeInBytes"].as_u64(), size);
}

#[test]
fn what_is_for_tables_is_refused_elsewhere() {
    let refused = |more: &[&str]| {
        let output = steward(&[&["preview", "--policy", "p.yaml", "--images", "i.json"], more].concat());
        assert_eq!(output.status.code(), Some(2));
        stderr(&output)
    };
    assert!(refused(&["--show", "all", "--output", "json"]).contains("--show is for tables"));
    assert!(refused(&["--sort", "images"]).contains("add --summary"));
    assert!(refused(&["--summary", "--sort", "age"]).contains("repository, size or images"));
}

#[test]
fn previews_of_several_repositories_are_summed_up_and_printed_as_lines() {
    let folder = Folder::new();
    let image = |repository: &str, number: u32, size: u64| {
        format!(
            r#"{{"registryId": "123456789012", "repositoryName": "{repository}", "imageDigest": "sha256:{number:064x}", "imageTags": [],
              "imageSizeInBytes": {size}, "imagePushedAt": "2026-01-01T00:00:00Z"}}"#
        )
    };
    let images = [
        image("a", 1, 10),
        image("a", 2, 10),
        image("b", 3, 5_000_000),
        image("b", 4, 7_000_000),
        image("c", 5, 1),
    ];
    let images = folder.file("images.json", format!("[{}]", images.join(",")));
    let policy = folder.file("policy.yaml", "rules: [{selection: untagged, maximumNumberOfImages: 1}]");
    let preview = |more: &[&str]| {
        let output =
            steward(&[&["preview", "--policy", &policy, "--images", &images, "--now", NOW], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    insta::assert_snapshot!(preview(&["--summary", "--sort", "size"]), @"
    REPOSITORY      IMAGES  EXPIRE    SIZE  ARCHIVE  KEPT  FINDINGS
    b                    2       1  5.0 MB        0     1         1
    a                    2       1    10 B        0     1         1
    c                    1       0     0 B        0     1         0
    3 repositories       5       2  5.0 MB        0     3         2
    ");
    let array: Vec<Value> = serde_json::from_str(&preview(&["--output", "json"])).unwrap();
    let lines = preview(&["--output", "ndjson"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, array);
    let schema = shared::report::schema::named("preview-line").unwrap().value();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    assert!(lines.iter().all(|line| schema.is_valid(line)));
    let table = preview(&[]);
    assert!(
        table.ends_with(
            "In 3 repositories: 2 expire, at most 5.0 MB; 3 kept. --summary has a row for\n  each.\n"
        ),
        "{table}"
    );
}

#[test]
fn a_listing_that_cannot_be_of_one_registry_says_so() {
    let folder = Folder::new();
    let image = |registry: &str, number: u32, tag: &str, pushed: &str| {
        format!(
            r#"{{"registryId": "{registry}", "repositoryName": "app", "imageDigest": "sha256:{number:064x}", "imageTags": ["{tag}"],
              "imageSizeInBytes": 1, "imagePushedAt": "{pushed}"}}"#
        )
    };
    let listing = |images: &[String]| folder.file("images.json", format!("[{}]", images.join(",")));
    let policy = folder.file("policy.yaml", "rules: [{selection: any, maximumAgeLimit: 1}]");
    let preview =
        |images: &str| stdout(&steward(&["preview", "--policy", &policy, "--images", images, "--now", NOW]));
    let pushed = "2026-11-01T00:00:00Z";
    let two =
        preview(&listing(&[image("123456789012", 1, "v1", pushed), image("210987654321", 2, "v1", pushed)]));
    assert!(two.contains("app of 123456789012 at ") && two.contains("app of 210987654321 at "), "{two}");
    let twice =
        preview(&listing(&[image("123456789012", 1, "v1", pushed), image("123456789012", 2, "v1", pushed)]));
    assert!(twice.contains("tag-of-two-images: the listing has the tag v1 on\n  sha256:0"), "{twice}");
    let zero = preview(&listing(&[
        image("123456789012", 1, "v1", "0001-01-01T00:00:00Z"),
        image("123456789012", 2, "v2", pushed),
    ]));
    assert!(zero.contains("pushed-before-ecr: 1 image was pushed before there was an Amazon ECR"), "{zero}");
    assert!(!zero.contains("tag-of-two-images"));
}

#[test]
fn the_preview_as_json_is_ecrs_answer_with_reasons() {
    let report: Value = serde_json::from_str(&stdout(&storefront(&["--output", "json"]))).unwrap();
    assert_eq!(report["repositoryName"], "storefront/web");
    assert_eq!(report["evaluatedAt"], NOW);
    assert_eq!(report["status"], "COMPLETE");
    let results = report["previewResults"].as_array().unwrap();
    let expiring = results.iter().filter(|result| result["action"]["type"] == "EXPIRE").count();
    assert_eq!(report["summary"]["expiringImageTotalCount"], expiring);
    let transitions = &report["summary"]["transitioningImageTotalCounts"];
    assert_eq!(transitions.as_array().unwrap().len(), 1);
    assert_eq!(transitions[0]["targetStorageClass"], "ARCHIVE");
    assert_eq!(transitions[0]["imageTotalCount"], results.len() - expiring);
    let priorities: Vec<u64> = results.iter().map(|r| r["appliedRulePriority"].as_u64().unwrap()).collect();
    assert!(priorities.is_sorted());
    for result in results {
        let pushed = result["imagePushedAt"].as_str().unwrap();
        assert!(pushed.ends_with('Z'), "{pushed}");
        assert!(result["reason"].as_str().unwrap().ends_with('.'));
        assert!(result.get("pass").is_none());
    }
    for image in report["kept"].as_array().unwrap() {
        assert!(!image["keptBy"].as_str().unwrap().is_empty());
        assert!(image.as_object().unwrap().contains_key("expiresAt"));
    }
}

#[test]
fn a_day_is_its_beginning_in_utc() {
    let policy = path(fixture("storefront/policy.yaml"));
    let images = path(fixture("listings/array.json"));
    let output = steward(&["preview", "--policy", &policy, "--images", &images, "--now", "2027-01-01"]);
    assert!(stdout(&output).starts_with("storefront/web at 2027-01-01T00:00:00Z\n"), "{}", stdout(&output));
}

#[test]
fn what_is_in_use_stays() {
    let in_use = path(fixture("storefront/in-use.json"));
    let without: Value = serde_json::from_str(&stdout(&storefront(&["--output", "json"]))).unwrap();
    let with: Value =
        serde_json::from_str(&stdout(&storefront(&["--output", "json", "--in-use", &in_use]))).unwrap();
    let digests = |report: &Value, list: &str, holder: Option<&str>| -> Vec<String> {
        let images = report[list].as_array().unwrap().iter();
        images
            .filter(|image| holder.is_none_or(|holder| image["keptBy"] == holder))
            .map(|image| image["imageDigest"].as_str().unwrap().to_owned())
            .collect()
    };
    let in_use = digests(&with, "kept", Some("in use"));
    assert!(in_use.len() >= 3, "{in_use:?}");
    let without_use = digests(&without, "previewResults", None);
    let with_use = digests(&with, "previewResults", None);
    for digest in in_use {
        assert!(without_use.contains(&digest) && !with_use.contains(&digest), "{digest}");
    }
}

#[test]
fn all_passes_expire_what_image_indexes_leave_behind() {
    let report = |more: &[&str]| -> Value {
        let mut arguments = vec!["--output", "json"];
        arguments.extend(more);
        serde_json::from_str(&stdout(&storefront(&arguments))).unwrap()
    };
    let (one, all) = (report(&[]), report(&["--all-passes"]));
    let count = |report: &Value| report["previewResults"].as_array().unwrap().len();
    assert!(count(&all) > count(&one), "{} and {}", count(&all), count(&one));
    assert!(all["previewResults"].as_array().unwrap().iter().any(|result| result["pass"] == 2));
}

#[test]
fn the_page_is_one_file_that_needs_no_network() {
    let page = stdout(&storefront(&["--output", "html"]));
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert!(page.contains("storefront/web"));
    // Patterns of the page itself are referred to as `url(#…)`.
    let page = page.replace("url(#", "");
    for fetch in ["src=", "<link", "@import", "url(", "http://", "https://"] {
        assert!(!page.contains(fetch), "{fetch}");
    }
}

#[test]
fn every_spelling_of_a_listing_gives_the_same_preview() {
    let policy = path(fixture("storefront/policy.yaml"));
    let preview = |images: &str| {
        let images = path(fixture(images));
        let output =
            steward(&["preview", "--policy", &policy, "--images", &images, "--now", NOW, "--output", "json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let iso = preview("listings/pages.json");
    assert_eq!(preview("listings/cli-v1.json"), iso);
    assert_eq!(preview("listings/array.json"), iso);

    let images = fs::read_to_string(fixture("listings/pages.json")).unwrap();
    let piped = with_input(
        &["preview", "--policy", &policy, "--images", "-", "--now", NOW, "--output", "json"],
        &images,
    );
    assert_eq!(stdout(&piped), iso);
}

#[test]
fn a_file_of_two_repositories_gives_two_previews() {
    let policy = path(fixture("storefront/policy.yaml"));
    let images = path(fixture("listings/two-repositories.json"));
    let arguments = ["preview", "--policy", &policy, "--images", &images, "--now", NOW, "--output"];
    let table = stdout(&steward(&[&arguments[..], &["table"]].concat()));
    assert_eq!(table.matches(" at 2026-11-23T00:00:00Z").count(), 2);
    let json: Value = serde_json::from_str(&stdout(&steward(&[&arguments[..], &["json"]].concat()))).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);
}

#[test]
fn preview_says_in_one_line_what_is_unusable_and_exits_2() {
    let folder = Folder::new();
    let policy = folder.file("policy.json", VALID);
    let images = folder.file("images.json", r#"{"imageDetails": []}"#);
    let mut lines = String::new();
    for arguments in [
        vec!["--policy", "-", "--images", "-"],
        vec!["--policy", &policy, "--images", &folder.file("no.json", "{\"imageDetails\": [{}]}")],
        vec!["--policy", &policy, "--images", &folder.file("text.txt", "hello")],
        vec![
            "--policy",
            &folder.file("bad.json", VALID.replace("expire", "vanish").as_str()),
            "--images",
            &images,
        ],
        vec!["--policy", &policy, "--images", &images, "--in-use", &folder.file("use.json", "[\"a b\"]")],
    ] {
        let output = steward(&[&["preview"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(stdout(&output), "");
        let output_text = folder.plain(&output.stderr);
        assert_eq!(findings(&output_text).len(), 1, "{output_text}");
        lines.push_str(&output_text);
    }
    insta::assert_snapshot!(lines, @r#"
    ecr-steward: standard input can be read once; name a file for all but one of the arguments
    ecr-steward: no.json:1:20: /imageDetails/0: `imageDigest` is missing
      1 | {"imageDetails": [{}]}
        |                    ^
    ecr-steward: text.txt:1:1: not JSON: `hello` is no value; put it in double quotation marks if it is a text
      1 | hello
        | ^
    ecr-steward: bad.json:2:65: not a valid policy: /rules/0/action/type: unknown-value: `type` is `vanish`; write `expire` or `transition`
      2 |     "imageCountMoreThan", "countNumber": 1}, "action": {"type": "vanish"}}]}
        |                                                                 ^
    ecr-steward: use.json: /0: `a b` is not an image reference: it contains white space; write repository:tag, repository@sha256:… or the same behind a registry
    "#);

    let output = steward(&["preview", "--policy", &policy, "--images", &images, "--now", "yesterday"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`yesterday` is not a time"), "{}", stderr(&output));
}

#[test]
fn check_says_which_rules_of_an_attached_policy_would_count_protection_tags() {
    let policies_file = |apply: &str, rules: &str| {
        format!(
            "policies:\n- {{ name: old, repositories: ['old/*'], rules: [{{ selection: untagged, maximumAgeLimit: 14 }}] }}\n- {{ \
             name: all, repositories: ['*'], apply: {apply}, {rules} }}\n"
        )
    };
    let rules = "rules: [{ selection: untagged, maximumAgeLimit: 14 }, { selection: { tagPatternList: ['*'] }, \
                 maximumNumberOfImages: 8 }, { selection: { tagPrefixList: [e] }, maximumNumberOfImages: 9 }]";
    let output = with_input(&["check", "-"], &policies_file("attach", rules));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let output_text = stdout(&output);
    let lines = findings(&output_text);
    assert_eq!(lines.len(), 2, "{output_text}");
    for (line, rule) in lines.iter().zip([1, 2]) {
        let place = format!(": /policies/1/rules/{rule}/selection: protection-tags-match: ");
        assert!(line.starts_with("standard input:3:") && line.contains(&place), "{line}");
        assert!(line.contains("selection: any") && line.contains("apply: delete"), "{line}");
    }
    let output_text = stdout(&with_input(&["check", "-"], &policies_file("delete", rules)));
    let [one] = findings(&output_text)[..] else { panic!("{output_text}") };
    assert!(one.contains("/policies/1/rules/2: rule-unreachable: "), "{output_text}");
}

#[test]
fn check_refuses_rules_for_a_policy_that_is_only_protected() {
    let policies_file =
        |rules: &str| format!("policies: [{{ name: theirs, repositories: ['*'], apply: protect{rules} }}]\n");
    let output = with_input(&["check", "-"], &policies_file(""));
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()));
    let output =
        with_input(&["check", "-"], &policies_file(", rules: [{ selection: any, maximumAgeLimit: 14 }]"));
    assert_eq!(output.status.code(), Some(1));
    let output_text = stdout(&output);
    assert!(output_text.starts_with("standard input:1:72: /policies/0/rules: "), "{output_text}");
    assert!(output_text.contains("leave `rules` out, or write `apply: attach`"), "{output_text}");
}

fn protection_rule(arguments: &[&str]) -> String {
    let output = steward(&[&["protection-rule"], arguments].concat());
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    stdout(&output)
}

#[test]
fn the_protection_rule_is_a_policy_that_expires_nothing() {
    for (arguments, rules) in [(&[][..], 1), (&["--archive"], 2)] {
        let policy = LifecyclePolicy::parse(&protection_rule(arguments)).unwrap();
        assert!(is_protected(&policy) && takes_nothing(&policy));
        assert_eq!(policy.rules().len(), rules);
        let checked = with_input(&["check", "-"], &protection_rule(arguments));
        assert_eq!(checked.status.code(), Some(0), "{}", stdout(&checked));
    }
}

#[test]
fn the_protection_rule_for_cloudformation_is_the_same_rule() {
    for more in [&[][..], &["--archive"]] {
        let wanted = LifecyclePolicy::parse(&protection_rule(more)).unwrap();
        let text = protection_rule(&[more, &["--output", "yaml"]].concat());
        let properties: Value = serde_saphyr::from_str(&text).unwrap();
        let policy = properties["LifecyclePolicy"]["LifecyclePolicyText"].as_str().unwrap();
        assert_eq!(LifecyclePolicy::parse(policy).unwrap(), wanted);
        let (_, simple) = text.split_once("`ecr-steward compile`:\n#\n").unwrap();
        let simple: String = simple.lines().map(|line| format!("{}\n", &line[2..])).collect();
        let compiled = with_input(&["compile", "-"], &simple);
        assert_eq!(LifecyclePolicy::parse(&stdout(&compiled)).unwrap(), wanted, "{simple}");
    }
}

#[test]
fn the_protection_rule_for_terraform_is_formatted_as_terraform_does() {
    insta::assert_snapshot!(protection_rule(&["--archive", "--output", "hcl"]), @r#"
    # In a resource aws_ecr_lifecycle_policy: the protection rule is the first one.
    policy = jsonencode({
      rules = [
        {
          rulePriority = 1
          description  = "images in use, which stay"
          selection = {
            tagStatus     = "tagged"
            tagPrefixList = ["ecr-steward-in-use-"]
            countType     = "imageCountMoreThan"
            countNumber   = 1000000
          }
          action = {
            type = "expire"
          }
        },
        {
          rulePriority = 2
          description  = "archived images in use, which stay"
          selection = {
            tagStatus     = "tagged"
            tagPrefixList = ["ecr-steward-in-use-"]
            storageClass  = "archive"
            countType     = "sinceImageTransitioned"
            countUnit     = "days"
            countNumber   = 36500
          }
          action = {
            type = "expire"
          }
        },
        # Your own rules, with rulePriority = 3 and up.
      ]
    })

    # Or in a data source aws_ecr_lifecycle_policy_document:
    #
    # rule {
    #   priority    = 1
    #   description = "images in use, which stay"
    #   selection {
    #     tag_status      = "tagged"
    #     tag_prefix_list = ["ecr-steward-in-use-"]
    #     count_type      = "imageCountMoreThan"
    #     count_number    = 1000000
    #   }
    #   action {
    #     type = "expire"
    #   }
    # }
    #
    # The data source knows no rules about archived images; with such rules use jsonencode.
    "#);
}

#[test]
fn the_help_of_the_protection_rule_says_what_else_is_needed() {
    let help = stdout(&steward(&["protection-rule", "--help"]));
    for word in ["`apply: protect`", "`ecr-steward:protect`", "put first"] {
        assert!(help.contains(word), "{help}");
    }
}

/// A title of the window, colours, another way to begin an escape, text that is written backwards, and a carriage return.
const HOSTILE: &str = "v2\u{1b}]0;pwned\u{7}\u{1b}[31m\u{9b}32m\u{7f}\u{202e}gpj\r";

/// Asserts that a terminal obeys nothing of what is printed but its own bold and colours.
#[track_caller]
fn is_shown(output: &Output) -> String {
    let mut whole = format!("{}{}", stdout(output), stderr(output));
    let own = ["\u{1b}[1m", "\u{1b}[0m", "\u{1b}[31m", "\u{1b}[90m"];
    for own in own {
        whole = whole.replace(own, "");
    }
    let obeyed = whole.chars().find(|&character| shared::domain::text::printable::is_control(character));
    assert_eq!(obeyed, None, "{whole:?}");
    whole
}

#[test]
fn a_terminal_shows_what_comes_from_outside_and_obeys_none_of_it() {
    let folder = Folder::new();
    let tag = serde_json::to_string(HOSTILE).unwrap();
    let digest = format!("sha256:{}", "a".repeat(64));
    let listing = format!(
        r#"{{"imageDetails": [{{"repositoryName": {tag}, "registryId": "123456789012", "imageDigest": "{digest}",
            "imageTags": [{tag}], "imageSizeInBytes": 1, "imagePushedAt": "2026-01-01T00:00:00Z"}}]}}"#
    );
    let listing = folder.file("listing.json", listing);
    let policy = format!(
        r#"{{"rules": [{{"rulePriority": 1, "description": {tag}, "selection": {{"tagStatus": "any", "countType":
            "sinceImagePushed", "countUnit": "days", "countNumber": 9}}, "action": {{"type": "expire"}}}}]}}"#
    );
    let policy = folder.file("policy.json", policy);
    let preview = |more: &[&str]| {
        Command::new(binary("ecr-steward"))
            .args(["preview", "--policy", &policy, "--images", &listing, "--now", NOW])
            .args(more)
            .env("COLUMNS", "200")
            .env("CLICOLOR_FORCE", "1")
            .output()
            .unwrap()
    };
    let table = preview(&[]);
    assert_eq!(table.status.code(), Some(0), "{}", stderr(&table));
    let shown = is_shown(&table);
    assert!(shown.contains(r"v2\u{1b}]0;pwned\u{7}") && shown.contains(r"\u{202e}gpj\r"), "{shown}");
    assert!(stdout(&table).contains("\u{1b}[1m"), "its own colours stay");
    let html = preview(&["--output", "html"]);
    assert!(is_shown(&html).contains("pwned"));

    // JSON means what it meant.
    let json = preview(&["--output", "json"]);
    is_shown(&json);
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["previewResults"][0]["imageTags"][0], HOSTILE);
    assert_eq!(report["repositoryName"], HOSTILE);
    let compiled = steward(&["compile", &policy]);
    is_shown(&compiled);
    let compiled: Value = serde_json::from_slice(&compiled.stdout).unwrap();
    assert_eq!(compiled["rules"][0]["description"], HOSTILE);
    let simple = steward(&["compile", "--to", "simple", &policy]);
    is_shown(&simple);
    let back = with_input(&["compile", "-"], &stdout(&simple));
    let back: Value = serde_json::from_slice(&back.stdout).unwrap();
    assert_eq!(back["rules"][0]["description"], HOSTILE);

    // Findings, differences, and why something cannot be done.
    let broken = folder.file("broken.json", format!(r#"{{"rules": [], {tag}: 1, "x": {tag}}}"#));
    for output in [
        steward(&["check", &broken]),
        steward(&["check", "--output", "json", &broken]),
        steward(&["compile", &broken]),
        steward(&["diff", &policy, &folder.file("other.json", VALID)]),
        steward(&["check", &folder.file("a\u{1b}[31m\u{9b}.json", VALID)]),
        steward(&["check", &folder.file("not.json", HOSTILE)]),
        steward(&["compile", "no\u{1b}]0;such\u{7}\u{202e}file"]),
        steward(&["check", "--output", "\u{1b}]0;x\u{7}\u{9b}", &policy]),
        steward(&["\u{1b}]0;x\u{7}\u{202e}"]),
    ] {
        assert!(!is_shown(&output).is_empty());
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let policy = path(fixture("storefront/policy.yaml"));
    let images = path(fixture("storefront/images.json"));
    let mut child = Command::new(binary("ecr-steward"))
        .args(["preview", "--policy", &policy, "--images", &images, "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

mod account {
    use super::*;
    use serde_json::json;
    use shared::domain::enforcement::actor::Actor;
    use shared::domain::enforcement::in_use_protection::protected;
    use shared::domain::enforcement::journal::{PolicyLine, folder, policy_entry};
    use shared::domain::text::instant::Instant;
    use tests::cloud::BUCKET;
    use tests::ecr_stub::{EcrStub, Fault};
    use tests::site::{HOST, repository};

    /// An account with a repository: four builds a month old, one of which runs, a release for two platforms, and one image of
    /// today.
    fn account() -> EcrStub {
        let aws = EcrStub::start();
        aws.with(|registry| {
            let mut app = repository("team/app");
            for number in 0..4 {
                let digest = app.push(&number.to_string(), &[&format!("ci-{number}")]);
                app.age(&digest, 30.0);
            }
            let children = ["amd64", "arm64"].map(|platform| app.push(platform, &[]));
            app.push_index(&children.each_ref().map(String::as_str), &["v1"]);
            app.push("young", &["latest"]);
            app.lifecycle_policy = Some(
                r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"sinceImagePushed",
                    "countUnit":"days","countNumber":14},"action":{"type":"expire"}}]}"#
                    .to_owned(),
            );
            registry.repositories.insert("team/app".to_owned(), app);
        });
        aws.cloud(|cloud| {
            let definition = cloud.ecs.register("web", &[&format!("{HOST}/team/app:ci-0")]);
            cloud.ecs.run_task("prod", &definition, None);
            let policies_file =
                "policies: [{ name: all, repositories: ['*'], apply: delete, limits: { percent: 90 },
                rules: [{ selection: any, maximumAgeLimit: 14 }] }]";
            cloud.upload(&format!("{BUCKET}/policies.yaml"), policies_file);
        });
        aws
    }

    fn in_account(aws: &EcrStub, arguments: &[&str]) -> Output {
        Command::new(binary("ecr-steward"))
            .args(arguments)
            .env_clear()
            .env("AWS_ENDPOINT_URL", aws.url())
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .unwrap()
    }

    fn printed(output: &Output) -> Value {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[test]
    fn what_is_in_use_is_printed_with_its_users_or_not_at_all() {
        let aws = account();
        let used = printed(&in_account(&aws, &["in-use"]));
        assert_eq!(used[0]["imageUri"], format!("{HOST}/team/app:ci-0"));
        assert!(used[0]["usedBy"].to_string().contains("task/prod/"), "{used}");
        aws.fault_from("ListFunctions", Fault::Denied, 0);
        let output = in_account(&aws, &["in-use"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty(), "a list that is not complete is no list");
        let output_text = String::from_utf8(output.stderr).unwrap();
        assert!(
            output_text.contains("AWS Lambda: ListFunctions: the role that calls is not allowed"),
            "{output_text}"
        );
    }

    #[test]
    fn a_snapshot_previews_as_the_repository_does() {
        let (aws, folder) = (account(), Folder::new());
        let taken = in_account(&aws, &["snapshot", "--repository", "team/app"]);
        let images = folder.file("images.json", &taken.stdout);
        let used = folder.file("used.json", in_account(&aws, &["in-use"]).stdout);
        let policy = aws.with(|registry| registry.repositories["team/app"].lifecycle_policy.clone().unwrap());
        let policy = folder.file("policy.json", policy);
        let now = shared::domain::text::instant::Instant::now().to_string();
        let options = ["--now", &now, "--output", "json"];
        let offline = ["preview", "--policy", &policy, "--images", &images, "--in-use", &used];
        let offline = printed(&steward(&[&offline[..], &options].concat()));
        let given = ["--policy", &policy];
        let one = [&["preview", "--repository", "team/app"][..], &given, &options].concat();
        let live = printed(&in_account(&aws, &one));
        assert_eq!(live, offline);
        assert_eq!(live["previewResults"].as_array().unwrap().len(), 3);
        let all = printed(&in_account(&aws, &[&["preview", "--all"][..], &given, &options].concat()));
        assert_eq!(all, live);
    }

    #[test]
    fn enforcing_is_a_dry_run_unless_asked_for() {
        let aws = account();
        aws.with(|registry| registry.repositories.get_mut("team/app").unwrap().lifecycle_policy = None);
        let arguments = ["enforce", "--bucket", BUCKET, "--all"];
        let dry = in_account(&aws, &arguments);
        assert!(dry.status.success(), "{}", String::from_utf8_lossy(&dry.stderr));
        let table = String::from_utf8(dry.stdout).unwrap();
        assert!(table.starts_with("Dry run: nothing was changed at 2"), "{table}");
        assert!(table.contains("3 of 8 images will be deleted"), "{table}");
        assert!(table.ends_with("Add --apply to do it.\n"), "{table}");
        assert_eq!(aws.count("BatchDeleteImage"), 0);
        let report =
            printed(&in_account(&aws, &[&arguments[..], &["--apply", "--yes", "--output", "json"]].concat()));
        assert_eq!(report["totals"]["deleted"]["imageTotalCount"], 3, "{report:#}");
        assert!(report["startedBy"].as_str().is_some_and(|by| !by.is_empty()), "{report:#}");
        let left = aws.with(|registry| registry.repositories["team/app"].images.len());
        assert_eq!(left, 5);
        let journal = aws.cloud(|cloud| cloud.keys(BUCKET, "journal/"));
        assert_eq!(report["repositories"][0]["journal"], json!(journal));
    }

    #[test]
    fn nothing_is_enforced_without_a_bucket_where_it_is_written_down() {
        let aws = account();
        let output = in_account(&aws, &["enforce", "--bucket", "", "--all", "--apply"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("--bucket"));
        assert_eq!(aws.calls().len(), 0);
    }

    #[test]
    fn what_is_missing_is_reported_in_one_line() {
        let aws = account();
        for (arguments, expected) in [
            (
                &["preview", "--repository", "nothing"][..],
                "ecr-steward: there is no repository nothing in the registry of eu-west-1\n",
            ),
            (
                &["enforce", "--bucket", "empty", "--all"],
                "ecr-steward: s3://empty/policies.yaml: there is no such object; put the policies file there, or name one with \
                 --policies\n",
            ),
            (
                &["snapshot"],
                "ecr-steward: name the repositories: --repository NAME (with * for any characters), or --all\n",
            ),
        ] {
            let output = in_account(&aws, arguments);
            assert_eq!(output.status.code(), Some(2));
            assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
        }
        let output = Command::new(binary("ecr-steward"))
            .arg("in-use")
            .env_clear()
            .env("PATH", "/nowhere")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let output_text = String::from_utf8(output.stderr).unwrap();
        assert!(output_text.starts_with("ecr-steward: there are no credentials: sign in"), "{output_text}");
    }

    /// The policy of the repository before a run replaced it.
    const THEIRS: &str = r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"imageCountMoreThan","countNumber":3},"action":{"type":"expire"}}]}"#;
    const RESTORE: [&str; 5] = ["policy", "restore", "team/app", "--bucket", BUCKET];

    fn attached(aws: &EcrStub) -> String {
        aws.with(|registry| registry.repositories["team/app"].lifecycle_policy.clone().unwrap())
    }

    /// A run replaced a policy this number of days ago.
    fn replaced(aws: &EcrStub, repository: &str, run_id: &str, days: i64, text: &str) -> String {
        let micros = Instant::now().micros() - days * 86_400_000_000;
        let at = Instant::from_micros(micros).unwrap();
        let line = PolicyLine {
            run_id: run_id.to_owned(),
            at,
            registry_id: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            by: Actor::principal("arn:aws:iam::123456789012:role/ops"),
            repository_name: repository.to_owned(),
            lifecycle_policy_text: text.to_owned(),
            replaced_by: attached(aws),
            reason: "policies.yaml says `apply: attach`".to_owned(),
            was_attached_by_stack: text.contains("ecr-steward-in-use-"),
        };
        let (key, content) = policy_entry(&folder(at, run_id), &line).unwrap();
        aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/{key}"), &content));
        key
    }

    fn restore(aws: &EcrStub, more: &[&str]) -> (String, String) {
        let output = in_account(aws, &[&RESTORE[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        (stdout(&output), stderr(&output))
    }

    #[test]
    fn a_replaced_policy_is_shown_and_put_back_only_when_that_is_asked_for() {
        let aws = account();
        let before = attached(&aws);
        let key = replaced(&aws, "team/app", "nightly", 2, THEIRS);
        let (output_text, warned) = restore(&aws, &[]);
        for part in [
            "by nightly of arn:aws:iam::123456789012:role/ops\n  since policies.yaml says `apply: attach`\n",
            &key,
            "Attached:\n  rule 1: expire images pushed more than 14 days ago\n",
            "To be put back:\n  rule 1: expire untagged images beyond the youngest 3\n",
            "Difference:\n  removed rule 1: expire images pushed more than 14 days ago\n  added rule 1: expire untagged images",
            "Dry run: nothing was changed. Add --apply to put the policy back.\n",
        ] {
            assert!(output_text.contains(part), "{part}: {output_text}");
        }
        assert!(warned.starts_with("ecr-steward: warning: the policy has no protection rule"), "{warned}");
        assert_eq!((attached(&aws), aws.count("PutLifecyclePolicy"), aws.count("PutObject")), (before, 0, 0));
        let (output_text, _) = restore(&aws, &["--apply"]);
        assert!(output_text.contains("Put the policy back."), "{output_text}");
        assert_eq!(attached(&aws), THEIRS);
        assert_eq!(
            restore(&aws, &["--apply"]).0.lines().last(),
            Some("Nothing to do: the policy is attached.")
        );
        assert_eq!(aws.count("PutLifecyclePolicy"), 1);
    }

    #[test]
    fn what_is_replaced_is_in_the_journal_before_and_can_be_put_back_itself() {
        let aws = account();
        let before = attached(&aws);
        let first = replaced(&aws, "team/app", "nightly", 0, THEIRS);
        restore(&aws, &["--apply"]);
        let calls: Vec<String> = aws.calls().into_iter().map(|call| call.operation).collect();
        let at = |operation: &str| calls.iter().position(|call| call == operation).unwrap();
        assert!(at("PutObject") < at("PutLifecyclePolicy"), "{calls:?}");
        let keys = aws.cloud(|cloud| cloud.keys(BUCKET, "journal/"));
        let own = keys.iter().find(|key| **key != first).unwrap();
        let line = aws.cloud(|cloud| cloud.object_text(&format!("{BUCKET}/{own}"))).unwrap();
        let line: PolicyLine = serde_json::from_str(&line).unwrap();
        assert_eq!((&line.lifecycle_policy_text, line.replaced_by.as_str()), (&before, THEIRS));
        assert!(line.reason.contains(&first) && line.repository_name == "team/app", "{line:?}");
        restore(&aws, &["--apply", "--run", &line.run_id]);
        assert_eq!(attached(&aws), before);
    }

    #[test]
    fn a_policy_is_put_back_where_nothing_is_attached_any_more() {
        let aws = account();
        replaced(&aws, "team/app", "nightly", 1, THEIRS);
        aws.with(|registry| registry.repositories.get_mut("team/app").unwrap().lifecycle_policy = None);
        let (output_text, _) = restore(&aws, &["--apply"]);
        assert!(output_text.contains("Attached:\n  nothing\n"), "{output_text}");
        assert!(output_text.contains("Difference:\n  added rule 1: expire untagged images"), "{output_text}");
        assert!(output_text.ends_with("Put the policy back. Nothing was attached.\n"), "{output_text}");
        assert_eq!((attached(&aws).as_str(), aws.count("PutObject")), (THEIRS, 0));
    }

    #[test]
    fn nothing_is_replaced_that_cannot_be_written_down() {
        let aws = account();
        let before = attached(&aws);
        replaced(&aws, "team/app", "nightly", 0, THEIRS);
        aws.fault_from("PutObject", Fault::Denied, 0);
        let output = in_account(&aws, &[&RESTORE[..], &["--apply"]].concat());
        assert_eq!(output.status.code(), Some(2));
        assert_eq!((attached(&aws), aws.count("PutLifecyclePolicy")), (before, 0));
    }

    #[test]
    fn the_policy_that_was_replaced_last_is_put_back_unless_a_run_is_named() {
        let aws = account();
        let text = |count: u64| THEIRS.replace(":3}", &format!(":{count}}}"));
        replaced(&aws, "team/app", "old", 399, &text(5));
        replaced(&aws, "team/app", "newer", 9, &text(6));
        replaced(&aws, "team/app", "newest", 8, &text(7));
        replaced(&aws, "team/app-2", "other", 1, &text(8));
        replaced(&aws, "team/app", "forgotten", 500, &text(9));
        assert!(restore(&aws, &[]).0.contains("beyond the youngest 7\n"));
        assert!(restore(&aws, &["--run", "old"]).0.contains("beyond the youngest 5\n"));
        // What this stack had attached itself is nobody's to have back, unless nothing else was replaced or its run is named.
        let own = protected(&LifecyclePolicy::parse(&text(4)).unwrap()).unwrap().to_json();
        replaced(&aws, "team/app", "update", 7, &own);
        replaced(&aws, "team/app", "withdrawal", 1, &own);
        assert!(restore(&aws, &[]).0.contains("beyond the youngest 7\n"));
        assert!(restore(&aws, &["--run", "withdrawal"]).0.contains("beyond the youngest 4\n"));
        for (more, expected) in [
            (
                &["--run", "forgotten"][..],
                "of team/app that was replaced by forgotten; older ones are forgotten\n",
            ),
            (&["--run", "other"], "of team/app that was replaced by other; older ones are forgotten\n"),
        ] {
            let output = in_account(&aws, &[&RESTORE[..], more].concat());
            assert_eq!(output.status.code(), Some(2));
            let output_text = stderr(&output);
            assert!(
                output_text.starts_with(&format!("ecr-steward: s3://{BUCKET}/journal/: ")),
                "{output_text}"
            );
            assert!(output_text.ends_with(expected), "{output_text}");
        }
        let output = in_account(&aws, &["policy", "restore", "team/none", "--bucket", BUCKET]);
        assert_eq!(
            stderr(&output),
            "ecr-steward: there is no repository team/none in the registry of eu-west-1\n"
        );
    }

    #[test]
    fn putting_a_policy_back_says_what_the_next_run_makes_of_it() {
        let aws = account();
        let theirs = LifecyclePolicy::parse(THEIRS).unwrap();
        replaced(&aws, "team/app", "nightly", 0, &protected(&theirs).unwrap().to_json());
        let (_, warned) = restore(&aws, &[]);
        assert_eq!(warned, "", "it has the protection rule, and nobody replaces it");
        let record = |mode: &str, more: &str| {
            let text = format!(
                r#"{{"registryId": "123456789012", "repositoryName": "team/app", "mode": "{mode}",
                "refreshedAt": "2026-11-23T00:00:00Z", "refreshedBy": "nightly"{more}}}"#
            );
            aws.cloud(|cloud| cloud.upload(&format!("{BUCKET}/state/protection/team/app.json"), &text));
        };
        for (mode, more, expected) in [
            ("protect", "", &[][..]),
            (
                "attach",
                "",
                &[
                    "the next run that enforces attaches the policy of the file again",
                    "write `apply: protect`",
                ],
            ),
            ("provisioned", "", &["made by ecr-steward", "`PUT /repositories`"]),
            (
                "protect",
                r#", "suspended": {"at": "2026-11-22T00:00:00Z", "reason": "ListTasks is denied"}"#,
                &["since 2026-11-22T00:00:00Z no policy may act on the repository (ListTasks is denied)"],
            ),
            ("unknown", "", &["state/protection/team/app.json cannot be read", "is not known"]),
        ] {
            record(mode, more);
            let (_, warned) = restore(&aws, &[]);
            assert_eq!(warned.is_empty(), expected.is_empty(), "{mode}: {warned}");
            assert!(expected.iter().all(|part| warned.contains(part)), "{mode}: {warned}");
        }
    }
}
