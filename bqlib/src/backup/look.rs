//! What is in a file of backup, as far as that is cheap to know: its digest, its first record, its rows. Reads it piece by piece, however
//! large it is.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::name::Format;

/// Text files up to this size are read through to count their rows.
const CHEAP: u64 = 256 * 1024 * 1024;

/// What a look at a file tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Of CSV: the fields of the first record.
    pub first: Option<Vec<String>>,
    /// Its records, a header being one of them, where they are cheap to count: of CSV and JSON lines up to 256 MiB, and of Avro. Parquet
    /// says it only to who can read all of its footer.
    pub records: Option<u64>,
    /// Why BigQuery cannot read it.
    pub unfit: Option<String>,
}

/// Looks into a file.
///
/// # Errors
/// It cannot be read.
pub fn look(path: &Path, format: Format, gzip: bool) -> io::Result<Looked> {
    let bytes = path.metadata()?.len();
    let cheap = bytes <= if gzip { CHEAP / 8 } else { CHEAP };
    let open = || -> io::Result<Box<dyn Read>> {
        let file = BufReader::new(File::open(path)?);
        Ok(match gzip {
            true => Box::new(MultiGzDecoder::new(file)),
            false => Box::new(file),
        })
    };
    let mut looked = Looked::default();
    match format {
        Format::Csv => {
            looked.first = first_record(open()?)?;
            if cheap {
                looked.records = Some(csv_records(open()?)?);
            }
        }
        Format::Json => {
            let mut start = [0];
            let begun = open()?.read(&mut start)?;
            if begun == 1 && start[0] == b'[' {
                looked.unfit = Some("it is one JSON array, and BigQuery reads one object a line".to_owned());
            } else if cheap {
                looked.records = Some(lines(open()?)?);
            }
        }
        Format::Avro => looked.records = Some(avro_rows(File::open(path)?)?),
        Format::Parquet => {}
    }
    Ok(looked)
}

/// Takes a file's digest and looks into it, without keeping anybody from anything else: a large one takes its time.
///
/// # Errors
/// It cannot be read, or has changed meanwhile.
pub async fn examine(path: PathBuf, format: Format, gzip: bool) -> io::Result<(Examined, Looked)> {
    let work = move || {
        let about = path.metadata()?;
        let (bytes, modified) = (about.len(), about.modified().ok());
        let (sha256, read) = digest(&path)?;
        let looked = look(&path, format, gzip)?;
        match read == bytes {
            true => Ok((
                Examined {
                    bytes,
                    modified,
                    sha256,
                },
                looked,
            )),
            false => Err(io::Error::other("it has changed while it was read")),
        }
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// A file's length, date and digest.
#[derive(Clone, Debug)]
pub struct Examined {
    /// How long it is.
    pub bytes: u64,
    /// When it was last written.
    pub modified: Option<SystemTime>,
    /// The digest of its bytes.
    pub sha256: String,
}

/// The digest of a file's bytes, and how many there are.
fn digest(path: &Path) -> io::Result<(String, u64)> {
    let (mut file, mut hash, mut piece, mut bytes) = (File::open(path)?, Sha256::new(), vec![0; 256 * 1024], 0);
    loop {
        match file.read(&mut piece)? {
            0 => break,
            some => {
                hash.update(&piece[..some]);
                bytes += some as u64;
            }
        }
    }
    Ok((
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes,
    ))
}

fn reader(text: Box<dyn Read>) -> csv::Reader<Box<dyn Read>> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text)
}

/// How much of a file is read for its first record: what has no end of line that far is no table.
const FIRST: u64 = 1024 * 1024;

fn first_record(text: Box<dyn Read>) -> io::Result<Option<Vec<String>>> {
    let mut record = csv::ByteRecord::new();
    if !reader(Box::new(text.take(FIRST))).read_byte_record(&mut record)? {
        return Ok(None);
    }
    Ok(Some(
        record
            .iter()
            .map(|field| String::from_utf8_lossy(field).into_owned())
            .collect(),
    ))
}

fn csv_records(text: Box<dyn Read>) -> io::Result<u64> {
    let (mut reader, mut record, mut number) = (reader(text), csv::ByteRecord::new(), 0);
    while reader.read_byte_record(&mut record)? {
        number += 1;
    }
    Ok(number)
}

/// Lines that are not empty, without one of them ever being held.
fn lines(text: Box<dyn Read>) -> io::Result<u64> {
    let (mut text, mut number, mut filled) = (BufReader::new(text), 0, false);
    loop {
        let piece = text.fill_buf()?;
        if piece.is_empty() {
            return Ok(number + u64::from(filled));
        }
        for byte in piece {
            if *byte == b'\n' {
                number += u64::from(filled);
                filled = false;
            } else {
                filled |= !byte.is_ascii_whitespace();
            }
        }
        let length = piece.len();
        text.consume(length);
    }
}

/// The rows of an Avro file: each of its blocks says how many it has and how long it is.
/// Source: <https://avro.apache.org/docs/1.12.0/specification/#object-container-files>.
fn avro_rows(file: File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut file = BufReader::new(file);
    let mut magic = [0; 4];
    file.read_exact(&mut magic)?;
    if &magic != b"Obj\x01" {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no Avro file"));
    }
    // The header's map: pairs of text, in blocks that may say their length in bytes.
    loop {
        let pairs = avro_long(&mut file)?;
        match pairs {
            0 => break,
            1.. => (0..2 * pairs).try_for_each(|_| avro_long(&mut file).and_then(|long| skip(&mut file, long)))?,
            _ => {
                let bytes = avro_long(&mut file)?;
                skip(&mut file, bytes)?;
            }
        }
    }
    const SYNC: i64 = 16;
    skip(&mut file, SYNC)?;
    let mut rows = 0;
    while file.stream_position()? < length {
        let block = avro_long(&mut file)?;
        let bytes = avro_long(&mut file)?;
        rows += u64::try_from(block).map_err(|_| damaged())?;
        skip(&mut file, bytes.saturating_add(SYNC))?;
    }
    Ok(rows)
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is damaged")
}

fn skip(file: &mut BufReader<File>, bytes: i64) -> io::Result<()> {
    match bytes {
        0.. => file.seek_relative(bytes),
        _ => Err(damaged()),
    }
}

/// A zig-zag number of variable length.
fn avro_long(file: &mut BufReader<File>) -> io::Result<i64> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        number |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    Err(damaged())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::path::PathBuf;

    struct Place(tempfile::TempDir);

    impl Place {
        fn file(name: &str, bytes: &[u8]) -> (Place, PathBuf) {
            let place = Place(tempfile::tempdir().unwrap());
            let path = place.0.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            (place, path)
        }
    }

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        zip.write_all(bytes).unwrap();
        zip.finish().unwrap()
    }

    #[test]
    fn records_of_csv_are_no_lines() {
        let text = b"id,note\n1,\"two\nlines\"\n2,\"a \"\"b\"\"\"\n";
        for (bytes, gzip) in [(text.to_vec(), false), (zipped(text), true)] {
            let (_place, path) = Place::file("t.csv", &bytes);
            let looked = look(&path, Format::Csv, gzip).unwrap();
            assert_eq!(looked.first, Some(vec!["id".to_owned(), "note".to_owned()]));
            assert_eq!(looked.records, Some(3));
        }
        let (_place, path) = Place::file("t.csv", b"");
        let looked = look(&path, Format::Csv, false).unwrap();
        assert_eq!((looked.first, looked.records), (None, Some(0)));
    }

    #[test]
    fn rows_of_json_are_lines_with_something_in_them() {
        let (_place, path) = Place::file("t.json", b"{\"a\": 1}\n\n{\"a\": 2}\n  \n{\"a\": 3}");
        assert_eq!(look(&path, Format::Json, false).unwrap().records, Some(3));
        let (_place, path) = Place::file("t.json", b"[{\"a\": 1}]");
        assert!(
            look(&path, Format::Json, false)
                .unwrap()
                .unfit
                .unwrap()
                .contains("array")
        );
    }

    #[test]
    fn rows_of_avro_are_told_by_its_blocks() {
        // Three pairs in the header, in two ways; blocks of 2 and 70 rows.
        let mut file = b"Obj\x01".to_vec();
        file.extend(b"\x02\x02a\x02b");
        file.extend(b"\x01\x08\x02c\x02d");
        file.extend(b"\x00");
        file.extend([7; 16]);
        for (rows, bytes) in [(&[4_u8][..], 3_u8), (&[0x8c, 0x01][..], 5)] {
            file.extend(rows);
            file.push(bytes << 1);
            file.extend(vec![9; usize::from(bytes)]);
            file.extend([7; 16]);
        }
        let (_place, path) = Place::file("t.avro", &file);
        assert_eq!(look(&path, Format::Avro, false).unwrap().records, Some(72));
        let (_place, path) = Place::file("t.avro", b"PAR1 is not avro");
        assert!(look(&path, Format::Avro, false).is_err());
    }

    #[test]
    fn a_file_is_told_by_its_digest() {
        let (_place, path) = Place::file("t.csv", b"abc");
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(&path).unwrap(), (want.to_owned(), 3));
    }
}
