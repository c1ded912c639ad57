//! Packs a directory as an archive for a build: without what `.dockerignore` names, with executable bits, with links as links.
//!
//! The same files make the same archive, byte by byte, so that the same source is one image however often it is sent. BuildKit
//! applies `.dockerignore` itself as well; leaving files out here only saves bandwidth.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Cursor, Write};
use std::path::{Component, Path, PathBuf};

use regex::Regex;
use zip::CompressionMethod;
use zip::result::ZipError;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Maximum size of an archive's files, in bytes: it is made in memory.
const MAX_BYTES: u64 = 1 << 30;

/// Why a directory cannot be packed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    #[error("{}: {error}", .path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{}: is no directory; name the one that the Dockerfile copies from", .0.display())]
    NotADirectory(PathBuf),
    #[error("{}: there is no {dockerfile} in it; name another one with --dockerfile", .directory.display())]
    NoDockerfile { directory: PathBuf, dockerfile: String },
    #[error(
        "{dockerfile} is not in {}, which is all that is sent: write its path from there, or name a directory that has both", .directory.display()
    )]
    DockerfileElsewhere { directory: PathBuf, dockerfile: String },
    #[error("{}: its name is no UTF-8", .0.display())]
    Name(PathBuf),
    #[error("{file}: line {line}: `{pattern}` is no pattern: {problem}")]
    Pattern { file: String, line: usize, pattern: String, problem: String },
    #[error("{} has more than {} MB without what .dockerignore names: add to it what the build does not need", .directory.display(), MAX_BYTES >> 20)]
    TooLarge { directory: PathBuf },
    #[error("the archive could not be made: {0}")]
    Archive(#[from] ZipError),
}

/// A packed directory.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) archive: Vec<u8>,
    /// The path of the Dockerfile in it.
    pub(crate) dockerfile: String,
    pub(crate) files: usize,
    /// Sockets, pipes and devices: what no archive has.
    pub(crate) left_out: Vec<PathBuf>,
}

/// Packs a directory that has this Dockerfile.
pub(crate) fn pack(directory: &Path, dockerfile: &str) -> Result<Packed, PackError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |error| PackError::Read { path, error }
    };
    if !fs::metadata(directory).map_err(read(directory))?.is_dir() {
        return Err(PackError::NotADirectory(directory.to_owned()));
    }
    if !directory.join(dockerfile).is_file() {
        let (directory, dockerfile) = (directory.to_owned(), dockerfile.to_owned());
        return Err(PackError::NoDockerfile { directory, dockerfile });
    }
    let dockerfile = &path_from(directory, dockerfile)?;
    // A Dockerfile's own ignore file takes precedence over the general one.
    let own = format!("{dockerfile}.dockerignore");
    let mut ignored = Ignored::default();
    for name in [own.as_str(), ".dockerignore"] {
        match fs::read_to_string(directory.join(name)) {
            Ok(text) => {
                ignored = Ignored::parse(name, &text)?;
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(read(&directory.join(name))(error)),
        }
    }
    // BuildKit reads these whatever the patterns say.
    let kept: BTreeSet<&str> = [dockerfile.as_str(), &own, ".dockerignore"].into_iter().collect();
    let mut packer = Packer {
        directory,
        ignored,
        kept,
        zip: ZipWriter::new(Cursor::new(Vec::new())),
        bytes: 0,
        files: 0,
        left_out: Vec::new(),
    };
    packer.add_directory("")?;
    let Packer { zip, files, left_out, .. } = packer;
    let archive = zip.finish()?.into_inner();
    Ok(Packed { archive, dockerfile: dockerfile.clone(), files, left_out })
}

/// The path of a Dockerfile from the directory, with `/` between its parts and nothing that leads nowhere or out of it.
fn path_from(directory: &Path, dockerfile: &str) -> Result<String, PackError> {
    let elsewhere = || PackError::DockerfileElsewhere {
        directory: directory.to_owned(),
        dockerfile: dockerfile.to_owned(),
    };
    let mut path = Path::new(dockerfile);
    let top;
    if path.is_absolute() {
        let read = |error| PackError::Read { path: directory.to_owned(), error };
        top = directory.canonicalize().map_err(read)?;
        path = path.strip_prefix(directory).or_else(|_| path.strip_prefix(&top)).map_err(|_| elsewhere())?;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str().ok_or_else(elsewhere)?),
            Component::ParentDir => {
                parts.pop().ok_or_else(elsewhere)?;
            }
            Component::RootDir | Component::Prefix(_) => return Err(elsewhere()),
        }
    }
    Ok(parts.join("/"))
}

struct Packer<'a> {
    directory: &'a Path,
    ignored: Ignored,
    kept: BTreeSet<&'a str>,
    zip: ZipWriter<Cursor<Vec<u8>>>,
    bytes: u64,
    files: usize,
    left_out: Vec<PathBuf>,
}

impl Packer<'_> {
    /// Adds what is in a directory, given by its path from the top, without a slash at its end.
    fn add_directory(&mut self, directory: &str) -> Result<(), PackError> {
        let at = self.directory.join(directory);
        let failed = |path: &Path, error| PackError::Read { path: path.to_owned(), error };
        let mut names = Vec::new();
        for entry in fs::read_dir(&at).map_err(|error| failed(&at, error))? {
            let entry = entry.map_err(|error| failed(&at, error))?;
            let name = entry.file_name().into_string().map_err(|name| PackError::Name(at.join(name)))?;
            names.push(name);
        }
        // In the same order on every machine.
        names.sort();
        let mut is_empty = true;
        for name in names {
            // Removed before every build, and often larger than all else.
            if name == ".git" {
                continue;
            }
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let on_disk = self.directory.join(&path);
            let found = fs::symlink_metadata(&on_disk).map_err(|error| failed(&on_disk, error))?;
            let is_kept = self.kept.contains(path.as_str());
            if found.is_dir() {
                let holds_kept = self.kept.iter().any(|kept| kept.starts_with(&format!("{path}/")));
                if self.ignored.is_ignored(&path) && !self.ignored.has_exceptions() && !holds_kept {
                    continue;
                }
                is_empty = false;
                self.add_directory(&path)?;
                continue;
            }
            if self.ignored.is_ignored(&path) && !is_kept {
                continue;
            }
            is_empty = false;
            if found.is_symlink() {
                let target = fs::read_link(&on_disk).map_err(|error| failed(&on_disk, error))?;
                let target = target.to_str().ok_or_else(|| PackError::Name(on_disk.clone()))?;
                self.zip.add_symlink(path, target, options(0o777))?;
                self.files += 1;
            } else if found.is_file() {
                self.bytes = self.bytes.saturating_add(found.len());
                if self.bytes > MAX_BYTES {
                    return Err(PackError::TooLarge { directory: self.directory.to_owned() });
                }
                let content = fs::read(&on_disk).map_err(|error| failed(&on_disk, error))?;
                let mode = if is_program(&found) { 0o755 } else { 0o644 };
                self.zip.start_file(path, options(mode))?;
                self.zip.write_all(&content).map_err(ZipError::Io)?;
                self.files += 1;
            } else {
                self.left_out.push(on_disk);
            }
        }
        // A directory is there by its files; an empty one by itself.
        if is_empty && !directory.is_empty() && !self.ignored.is_ignored(directory) {
            self.zip.add_directory(directory, options(0o755))?;
        }
        Ok(())
    }
}

/// The options of an entry, with a constant time.
fn options(mode: u32) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(mode)
}

#[cfg(unix)]
fn is_program(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    found.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
const fn is_program(_: &fs::Metadata) -> bool {
    false
}

/// The patterns of a `.dockerignore`, with the meaning that Docker gives them.
#[derive(Debug, Default)]
struct Ignored {
    patterns: Vec<(Regex, bool)>,
}

impl Ignored {
    fn parse(file: &str, text: &str) -> Result<Self, PackError> {
        let mut patterns = Vec::new();
        for (line, written) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            if written.starts_with('#') {
                continue;
            }
            let pattern = written.trim();
            let (pattern, is_exception) = match pattern.strip_prefix('!') {
                Some(rest) => (rest.trim(), true),
                None => (pattern, false),
            };
            let cleaned = clean(pattern);
            if cleaned.is_empty() {
                continue;
            }
            let regex = Regex::new(&expression(&cleaned)).map_err(|error| PackError::Pattern {
                file: file.to_owned(),
                line,
                pattern: pattern.to_owned(),
                problem: error
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ")
                    .to_owned(),
            })?;
            patterns.push((regex, is_exception));
        }
        Ok(Self { patterns })
    }

    fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|(_, is_exception)| *is_exception)
    }

    /// Whether a path, or a directory above it, is ignored. The last pattern that matches it decides.
    fn is_ignored(&self, path: &str) -> bool {
        let parents = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        let all: Vec<&str> = parents.chain([path]).collect();
        let mut is_ignored = false;
        for (regex, is_exception) in &self.patterns {
            if *is_exception == is_ignored && all.iter().any(|path| regex.is_match(path)) {
                is_ignored = !is_exception;
            }
        }
        is_ignored
    }
}

/// A pattern without `.`, `..`, empty parts, and slashes at its ends.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The regular expression of a pattern.
fn expression(pattern: &str) -> String {
    let mut out = "^".to_owned();
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '*' if rest.peek() == Some(&'*') => {
                rest.next();
                if rest.peek() == Some(&'/') {
                    rest.next();
                }
                out += if rest.peek().is_none() { ".*" } else { "(.*/)?" };
            }
            '*' => out += "[^/]*",
            '?' => out += "[^/]",
            '\\' => {
                let escaped = rest.next().map_or_else(|| "\\".to_owned(), String::from);
                out += &regex::escape(&escaped);
            }
            '[' | ']' | '^' | '-' => out.push(character),
            other => out += &regex::escape(other.encode_utf8(&mut [0; 4])),
        }
    }
    out.push('$');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(patterns: &str, path: &str) -> bool {
        Ignored::parse(".dockerignore", patterns).unwrap().is_ignored(path)
    }

    #[test]
    fn patterns_mean_what_they_mean_to_docker() {
        for (patterns, named, others) in [
            ("node_modules", &["node_modules", "node_modules/a/b"][..], &["a/node_modules"][..]),
            ("**/node_modules", &["node_modules/x", "a/b/node_modules/c"], &["node_modules2"]),
            ("*/temp*", &["a/temporary.txt", "a/temp/b"], &["a/b/temp", "temp"]),
            ("temp?", &["tempa"], &["temp", "temp/a"]),
            ("/dist/", &["dist", "dist/a"], &["a/dist"]),
            ("*.md\n!README.md", &["a.md"], &["README.md", "docs/a.md"]),
            ("docs\n!docs/keep.md", &["docs/a.md"], &["docs/keep.md"]),
            ("a.b", &["a.b"], &["axb"]),
            ("[ab].txt", &["a.txt"], &["c.txt"]),
            ("**/*.go", &["a.go", "x/y.go"], &["a.gox"]),
            ("build/**", &["build/a", "build/a/b"], &["build2"]),
            ("# comment\n\n  logs  ", &["logs/a"], &["comment"]),
            ("./src/../out", &["out/a"], &["src"]),
        ] {
            for path in named {
                assert!(ignored(patterns, path), "{patterns:?} names {path}");
            }
            for path in others {
                assert!(!ignored(patterns, path), "{patterns:?} does not name {path}");
            }
        }
        let broken = Ignored::parse(".dockerignore", "a\n[z-a]\n").unwrap_err().to_string();
        assert!(broken.starts_with(".dockerignore: line 2: `[z-a]` is no pattern: "), "{broken}");
    }

    #[cfg(unix)]
    #[test]
    fn an_archive_keeps_programs_links_and_empty_directories_and_is_always_the_same() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let folder = std::env::temp_dir().join(format!("ecr-steward-pack-{}", std::process::id()));
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        for directory in ["empty", ".git", "secret", "src"] {
            fs::create_dir_all(folder.join(directory)).unwrap();
        }
        write("Dockerfile", "FROM scratch\n");
        write(".dockerignore", "secret\nDockerfile\n*.log\n");
        write(".git/config", "[core]");
        write("secret/key", "k");
        write("a.log", "l");
        write("src/run.sh", "#!/bin/sh\n");
        fs::set_permissions(folder.join("src/run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("src/run.sh", folder.join("run")).unwrap();
        let first = pack(&folder, "Dockerfile").unwrap();
        write("src/run.sh", "#!/bin/sh\n");
        let second = pack(&folder, "Dockerfile").unwrap();
        assert_eq!(first.archive, second.archive);
        let mut zip = zip::ZipArchive::new(Cursor::new(first.archive)).unwrap();
        let mut entries = Vec::new();
        for index in 0..zip.len() {
            let entry = zip.by_index(index).unwrap();
            entries.push((
                entry.name().unwrap().into_owned(),
                entry.unix_mode().unwrap_or_default() & 0o170_777,
            ));
        }
        entries.sort();
        assert_eq!(
            entries,
            [
                (".dockerignore".to_owned(), 0o100_644),
                ("Dockerfile".to_owned(), 0o100_644),
                ("empty/".to_owned(), 0o040_755),
                ("run".to_owned(), 0o120_777),
                ("src/run.sh".to_owned(), 0o100_755),
            ]
        );
        let message = pack(&folder, "docker/Dockerfile").unwrap_err().to_string();
        assert!(
            message.ends_with("there is no docker/Dockerfile in it; name another one with --dockerfile"),
            "{message}"
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
