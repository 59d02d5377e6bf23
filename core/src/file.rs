//! Files that are whole or not there, and headers that mean one thing.

use std::{
    collections::HashSet,
    fmt, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process,
};

use safetensors::SafeTensors;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{Error, FileFault, Result};

/// Writes `bytes` beside `path` and renames them over it: whoever reads `path` sees what it was, or all of the bytes.
///
/// # Errors
/// Those of the file system; `path` is then as it was, and nothing is left beside it.
///
/// ```
/// use wavecube_core::file::replace;
/// let path = std::env::temp_dir().join(format!("wavecube-{}.txt", std::process::id()));
/// replace(&path, b"whole")?;
/// assert_eq!(std::fs::read(&path)?, b"whole");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.partial", process::id()));
    let beside = PathBuf::from(beside);
    let write = || {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        // On a full disk the half that was written would stay in the way; if it cannot be removed, the
        // first error still says more.
        let _ = fs::remove_file(&beside);
    })
}

/// The first key that the header of a safetensors file has more than once in one of its objects. JSON leaves open what
/// that means and parsers take the last, so that two readers may see two files; none of wavecube takes any.
///
/// Nothing for bytes that are no such file, which its parser refuses.
///
/// ```
/// use wavecube_core::file::repeated_key;
/// let file = |header: &str| [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
/// let one = r#""a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}"#;
/// assert_eq!(repeated_key(&file(&format!("{{{one}}}"))), None);
/// assert_eq!(repeated_key(&file(&format!("{{{one}, {one}}}"))), Some("a".to_owned()));
/// ```
pub fn repeated_key(bytes: &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first_chunk()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    serde_json::from_slice::<Keys>(header).ok()?.repeated
}

/// A safetensors file whose keys differ.
///
/// # Errors
/// [`Error::File`] for bytes that are none, and for a key that is repeated.
pub(crate) fn safetensors<'a>(op: &'static str, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    let foreign = FileFault::Foreign("a whole safetensors file");
    let file = SafeTensors::deserialize(bytes).map_err(|_| Error::File { op, fault: foreign })?;
    match repeated_key(bytes) {
        None => Ok(file),
        Some(key) => Err(Error::File { op, fault: FileFault::Repeated(key) }),
    }
}

/// What is looked for in a JSON value.
#[derive(Default)]
struct Keys {
    repeated: Option<String>,
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(value: D) -> std::result::Result<Self, D::Error> {
        value.deserialize_any(KeysVisitor)
    }
}

struct KeysVisitor;

/// What has no keys.
macro_rules! scalars {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E>(self, _: $type) -> std::result::Result<Keys, E> {
            Ok(Keys::default())
        })*
    };
}

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> std::result::Result<Keys, E> {
        Ok(Keys::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> std::result::Result<Keys, A::Error> {
        let mut repeated = None;
        while let Some(keys) = all.next_element::<Keys>()? {
            repeated = repeated.or(keys.repeated);
        }
        Ok(Keys { repeated })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> std::result::Result<Keys, A::Error> {
        let (mut seen, mut repeated) = (HashSet::new(), None);
        while let Some(key) = all.next_key::<String>()? {
            if repeated.is_some() {
                all.next_value::<IgnoredAny>()?;
            } else if seen.contains(&key) {
                all.next_value::<IgnoredAny>()?;
                repeated = Some(key);
            } else {
                repeated = all.next_value::<Keys>()?.repeated;
                seen.insert(key);
            }
        }
        Ok(Keys { repeated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
    }

    #[test]
    fn keys_are_repeated_in_one_object_alone() {
        let tensor = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
        let metadata = |inner: &str| format!(r#"{{"__metadata__":{{{inner}}},"a":{tensor}}}"#);
        for (header, expected) in [
            (format!(r#"{{"a":{tensor},"b":{tensor}}}"#), None),
            (format!(r#"{{"a":{tensor},"b":{tensor},"a":{tensor}}}"#), Some("a")),
            // The same key, written otherwise.
            (format!(r#"{{"a":{tensor},"\u0061":{tensor}}}"#), Some("a")),
            (metadata(r#""k":"1","a":"2""#), None),
            (metadata(r#""k":"1","k":"1""#), Some("k")),
            (
                r#"{"a":{"dtype":"U8","shape":[0],"shape":[0],"data_offsets":[0,0]}}"#.into(),
                Some("shape"),
            ),
            (r#"[1,{"x":null,"x":-1.5}]"#.into(), Some("x")),
            (r#"{"a":1,"a":"#.into(), None),
        ] {
            assert_eq!(repeated_key(&file(&header)).as_deref(), expected, "{header}");
        }
        assert_eq!(repeated_key(b"short"), None);
        assert_eq!(repeated_key(&u64::MAX.to_le_bytes()), None);
    }
    /// The same file, the first of its tensors named twice.
    fn doubled(bytes: &[u8]) -> Vec<u8> {
        let (length, rest) = bytes.split_first_chunk().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let header = std::str::from_utf8(header).unwrap();
        let first = &header[1..=header.find('}').unwrap()];
        [file(&format!("{{{first},{}", &header[1..])), data.to_vec()].concat()
    }

    #[test]
    fn every_reader_refuses_a_repeated_key() {
        use crate::{
            Complex64,
            polar::{self, Coding, ComplexCodes},
            quant::{self, Bits, Clip, Group, PackedWeight, ScaleType, Scheme},
        };
        let (bits, group, scale) = (Bits::Eight, Group::Of32, ScaleType::F32);
        let scheme = Scheme { bits, symmetric: true, group, scale };
        let weight = PackedWeight::quantize(&[0.5; 32], [1, 32], scheme, Clip::None).unwrap();
        let bytes = quant::to_bytes(&[("one".into(), weight)]).unwrap();
        assert!(quant::from_bytes(&bytes).is_ok());
        let refused = quant::from_bytes(&doubled(&bytes)).unwrap_err().to_string();
        assert!(refused.contains("`one."), "{refused}");
        let codes = ComplexCodes::quantize(&[Complex64::ONE], Coding::Polar, 12, 64).unwrap();
        let bytes = polar::to_bytes(&[("two".into(), codes)]).unwrap();
        assert!(polar::from_bytes(&bytes).is_ok());
        let refused = polar::from_bytes(&doubled(&bytes)).unwrap_err().to_string();
        assert!(refused.contains("`two."), "{refused}");
    }
}
