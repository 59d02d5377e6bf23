//! Choices in files that are cut short, foreign, cannot be written, or are written by many at once.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use wavecube_core::choices::{Choices, folder as named_folder};

const TITLE: &str = "a device, version 1";
/// Set for the copies of this program that say which folder they would use.
const SAYS: &str = "WAVECUBE_TEST_SAYS_FOLDER";
/// Names the folder in which a second process writes.
const SECOND: &str = "WAVECUBE_TEST_SECOND_PROCESS";

/// A folder of a test's own, which is not there yet.
fn folder(test: &str) -> PathBuf {
    let folder = env::temp_dir().join(format!("wavecube-{test}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn open(folder: &Path) -> Choices {
    Choices::open(Some(folder), TITLE)
}

/// The one file of a folder.
fn file_of(folder: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn the_next_process_knows_what_was_kept() {
    let folder = folder("kept");
    let mut choices = open(&folder);
    assert_eq!(choices.get("a"), None);
    for (key, choice) in [("a", "1"), ("a\tb\n", "2"), ("", ""), ("a", "3")] {
        choices.keep(key, choice).unwrap();
        assert_eq!(choices.get(key), Some(choice));
        assert_eq!(open(&folder).get(key), Some(choice));
    }
    let other = Choices::open(Some(&folder), "a device, version 2");
    assert_eq!(other.get("a"), None, "choices of another title");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn no_folder_keeps_in_memory() {
    let mut choices = Choices::open(None, TITLE);
    choices.keep("a", "1").unwrap();
    assert_eq!(choices.get("a"), Some("1"));
}

/// Cut anywhere or with any byte changed, the file counts as empty, and is whole again with the next choice.
#[test]
fn damaged_files_are_ignored_and_replaced() {
    let folder = folder("damaged");
    for (key, choice) in [("first", "1"), ("second", "2")] {
        open(&folder).keep(key, choice).unwrap();
    }
    let path = file_of(&folder);
    let whole = fs::read(&path).unwrap();
    let cut = (0..whole.len()).map(|len| whole[..len].to_vec());
    let changed = (0..whole.len()).map(|i| {
        let mut bytes = whole.clone();
        bytes[i] ^= 1;
        bytes
    });
    for bytes in cut.chain(changed) {
        fs::write(&path, &bytes).unwrap();
        let mut choices = open(&folder);
        for key in ["first", "second"] {
            assert_eq!(choices.get(key), None, "of {:?}", String::from_utf8_lossy(&bytes));
        }
        choices.keep("third", "3").unwrap();
        assert_eq!(open(&folder).get("third"), Some("3"));
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn foreign_files_are_ignored_and_replaced() {
    let folder = folder("foreign");
    open(&folder).keep("a", "1").unwrap();
    let path = file_of(&folder);
    // A whole file of another title under this one's name.
    Choices::open(Some(&folder), "another").keep("a", "2").unwrap();
    let other = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let other = other.into_iter().find(|other| *other != path).unwrap();
    for bytes in [fs::read(other).unwrap(), vec![0xff; 100], b"PNG\n\n".to_vec(), Vec::new()] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(open(&folder).get("a"), None);
        open(&folder).keep("b", "3").unwrap();
        assert_eq!(open(&folder).get("b"), Some("3"));
        assert_eq!(open(&folder).get("a"), None);
    }
    fs::remove_dir_all(folder).unwrap();
}

/// Where no file can be made, a choice lasts as long as the process. Permissions do not stop every user: a file
/// where the folder should be does.
#[test]
fn a_folder_that_cannot_be_written_costs_the_file_alone() {
    let blocked = folder("blocked");
    fs::write(&blocked, "in the way").unwrap();
    let mut choices = open(&blocked);
    choices.keep("a", "1").unwrap_err();
    assert_eq!(choices.get("a"), Some("1"));
    assert_eq!(fs::read(&blocked).unwrap(), b"in the way");
    fs::remove_file(blocked).unwrap();
}

#[test]
fn a_full_file_starts_anew() {
    let mut choices = Choices::open(None, TITLE);
    for i in 0..1000 {
        choices.keep(&i.to_string(), "1").unwrap();
        assert_eq!(choices.get(&i.to_string()), Some("1"));
    }
    let kept = (0..1000).filter(|i| choices.get(&i.to_string()).is_some()).count();
    assert!((1..=512).contains(&kept), "{kept}");
}

/// Two processes, each with two threads: the file is whole at every moment, and the last choice of each is there
/// unless another was kept in the same moment.
#[test]
fn two_processes_at_once() {
    if let Some(folder) = env::var_os(SECOND) {
        return write_from_two_threads(Path::new(&folder), "second");
    }
    let folder = folder("at-once");
    open(&folder).keep("before", "0").unwrap();
    let mut second = Command::new(env::current_exe().unwrap())
        .args(["--exact", "two_processes_at_once"])
        .env(SECOND, &folder)
        .spawn()
        .unwrap();
    write_from_two_threads(&folder, "first");
    assert!(second.wait().unwrap().success());
    assert_eq!(open(&folder).get("before"), Some("0"));
    file_of(&folder);
    fs::remove_dir_all(folder).unwrap();
}

fn write_from_two_threads(folder: &Path, process: &str) {
    thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || {
                let mut choices = open(folder);
                for i in 0..20 {
                    let key = format!("{process} {thread} {i}");
                    choices.keep(&key, "1").unwrap();
                    assert_eq!(choices.get(&key), Some("1"));
                    // Never half a file, which would count as empty.
                    assert_eq!(open(folder).get("before"), Some("0"));
                }
            });
        }
    });
}

#[test]
fn the_environment_names_the_folder() {
    if env::var_os(SAYS).is_some() {
        println!("\nfolder: {:?}", named_folder());
        return;
    }
    let root = env::temp_dir();
    let at = |path: &str| root.join(path).into_os_string();
    for (variables, expected) in [
        (vec![("WAVECUBE_CACHE", at("own"))], Some(root.join("own"))),
        (vec![("WAVECUBE_CACHE", "".into())], None),
        (vec![("XDG_CACHE_HOME", at("caches"))], Some(root.join("caches/wavecube"))),
        (vec![("XDG_CACHE_HOME", "relative".into())], Some(root.join("home/.cache/wavecube"))),
        (vec![], Some(root.join("home/.cache/wavecube"))),
    ] {
        let mut copy = Command::new(env::current_exe().unwrap());
        copy.args(["--exact", "the_environment_names_the_folder", "--nocapture"]);
        copy.env_remove("WAVECUBE_CACHE").env_remove("XDG_CACHE_HOME");
        copy.env("HOME", root.join("home")).env(SAYS, "1").envs(variables.clone());
        let said = copy.output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        let said = said.lines().find_map(|line| line.strip_prefix("folder: "));
        assert_eq!(said, Some(format!("{expected:?}").as_str()), "{variables:?}");
    }
}
