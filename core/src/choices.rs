//! Choices that a process has measured, kept in a file for the next one.
//!
//! The file is text: a title, a line for every choice, `key⇥choice`, and a sum of all that stands before it. It is
//! replaced as a whole, so that a reader sees what it was or what it is. A file with another title or another sum is
//! foreign or damaged: it counts as empty, and the next choice replaces it. Of two processes that keep a choice in
//! the same moment one may be forgotten, and is measured again.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::file::replace;

/// The choices of a file; beyond it the file starts anew.
const MOST: usize = 512;
/// Names the folder; empty, it keeps everything in memory.
const FOLDER: &str = "WAVECUBE_CACHE";

/// The folder for what a machine has found out and could find out again: what the environment's `WAVECUBE_CACHE`
/// says, else `wavecube` in the user's folder of caches (`$XDG_CACHE_HOME`, `~/.cache`, `%LOCALAPPDATA%`). None if
/// `WAVECUBE_CACHE` is empty or there is no such folder.
pub fn folder() -> Option<PathBuf> {
    if let Some(folder) = env::var_os(FOLDER) {
        return (!folder.is_empty()).then(|| folder.into());
    }
    // A relative path is to be ignored, says the XDG base directory specification.
    let of = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")));
    caches.or_else(|| of("LOCALAPPDATA")).map(|caches| caches.join("wavecube"))
}

/// What was measured under one title: a device and whatever else the choices hold for.
///
/// ```
/// use wavecube_core::choices::Choices;
/// let folder = std::env::temp_dir().join(format!("wavecube-choices-{}", std::process::id()));
/// Choices::open(Some(&folder), "a device").keep("a product", "tiled")?;
/// assert_eq!(Choices::open(Some(&folder), "a device").get("a product"), Some("tiled"));
/// assert_eq!(Choices::open(Some(&folder), "another").get("a product"), None);
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Choices {
    title: String,
    path: Option<PathBuf>,
    known: BTreeMap<String, String>,
}

impl Choices {
    /// Reads the file of a title in a folder; with no folder, choices last as long as this value. A title is one line.
    pub fn open(folder: Option<&Path>, title: &str) -> Self {
        let title = line(title);
        let name = format!("choices-{:016x}.txt", sum(&title));
        let path = folder.map(|folder| folder.join(name));
        let known = path.as_deref().and_then(|path| read(path, &title)).unwrap_or_default();
        Self { title, path, known }
    }

    /// The choice of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.known.get(&line(key)).map(String::as_str)
    }

    /// Keeps a choice, beside those that other processes have kept meanwhile.
    ///
    /// # Errors
    /// Those of the file system. The choice is then kept in memory alone, and the file is as it was.
    pub fn keep(&mut self, key: &str, choice: &str) -> io::Result<()> {
        // A replaced file is written under a name that the process has once.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &self.path {
            self.known.extend(read(path, &self.title).unwrap_or_default());
        }
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(line(key), line(choice));
        let Some(path) = &self.path else { return Ok(()) };
        let pairs = self.known.iter().map(|(key, choice)| format!("{key}\t{choice}\n"));
        let body = format!("{}\n{}", self.title, pairs.collect::<String>());
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        replace(path, format!("{body}{:016x}\n", sum(&body)).as_bytes())
    }
}

/// The choices of a file that is whole and has the title.
fn read(path: &Path, title: &str) -> Option<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).ok()?;
    let (body, last) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let body = &text[..=body.len()];
    if last != format!("{:016x}", sum(body)) {
        return None;
    }
    let mut lines = body.lines();
    if lines.next() != Some(title) {
        return None;
    }
    let pair = |line: &str| line.split_once('\t').map(|(key, choice)| (key.into(), choice.into()));
    lines.map(pair).collect()
}

/// A text on one line and without the sign that parts a key from its choice.
fn line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// FNV-1a: tells a file from a damaged one, and titles apart.
fn sum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
