//! A CD image with a few files in its root folder: ISO 9660 (ECMA-119, 4th edition; numbers in brackets are its
//! sections) with a second set of names by Joliet (ECMA-119's supplementary volume descriptor with UCS-2), which
//! Linux, Windows and macOS prefer.
//!
//! | sector | content |
//! |---|---|
//! | 0–15 | nothing: the system area |
//! | 16, 17, 18 | primary descriptor, Joliet's descriptor, the end of descriptors |
//! | 19, 20, 21, 22 | path tables: primary and Joliet's, each little- and big-endian |
//! | 23, 24 | root folder: primary and Joliet's |
//! | 25… | the files, each from a sector's beginning on |

const SECTOR: usize = 2048;
const PATH_TABLES: [u32; 4] = [19, 20, 21, 22];
const ROOTS: [u32; 2] = [23, 24];
const FIRST_FILE: u32 = 25;
/// A path table with the root alone: 8 bytes, its name of one byte, padding [9.4].
const PATH_TABLE_BYTES: u32 = 10;
/// The time of all that is in it: 1980-01-01 00:00:00 UTC [9.1.5]. The same input shall give the same image.
const TIME: [u8; 7] = [80, 1, 1, 0, 0, 0, 0];

/// A file.
pub struct File<'a> {
    /// Its name; files must come in the order of their names.
    pub name: &'static str,
    /// Its name for those who know ISO 9660 only: 8 capital letters at most, then `.;1`.
    pub short: &'static str,
    /// What is in it.
    pub content: &'a [u8],
}

/// The image. There must be no more files than a folder of one sector holds: a dozen.
pub fn image(label: &str, files: &[File<'_>]) -> Vec<u8> {
    let mut at = FIRST_FILE;
    let mut places = Vec::with_capacity(files.len());
    for file in files {
        places.push(at);
        at += sectors(file.content.len());
    }
    let total = at;
    let mut image = vec![0; 16 * SECTOR];
    image.extend(descriptor(Names::Primary, label, total));
    image.extend(descriptor(Names::Joliet, label, total));
    // The end of descriptors [8.3].
    image.extend(sector(b"\xffCD001\x01".to_vec()));
    for root in ROOTS {
        image.extend(sector(path_table(root.to_le_bytes(), 1_u16.to_le_bytes())));
        image.extend(sector(path_table(root.to_be_bytes(), 1_u16.to_be_bytes())));
    }
    image.extend(folder(Names::Primary, files, &places));
    image.extend(folder(Names::Joliet, files, &places));
    for file in files {
        image.extend(sector(file.content.to_vec()));
    }
    image
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Primary,
    Joliet,
}

impl Names {
    fn index(self) -> usize {
        usize::from(self == Self::Joliet)
    }

    /// A text of a descriptor, filled up with blanks: bytes, or UCS-2 with the high byte first.
    fn text(self, text: &str, len: usize) -> Vec<u8> {
        let mut bytes = self.bytes(text);
        bytes.truncate(len);
        while bytes.len() < len {
            let blank = self.bytes(" ");
            bytes.extend(blank.iter().take(len - bytes.len()));
        }
        bytes
    }

    fn bytes(self, text: &str) -> Vec<u8> {
        match self {
            Self::Primary => text.bytes().collect(),
            Self::Joliet => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }
}

/// A volume descriptor [8.4, 8.5].
fn descriptor(names: Names, label: &str, total: u32) -> Vec<u8> {
    let joliet = names == Names::Joliet;
    let index = names.index();
    let mut d = vec![if joliet { 2 } else { 1 }];
    d.extend(b"CD001\x01\x00");
    d.extend(names.text("", 32));
    d.extend(names.text(label, 32));
    d.extend([0; 8]);
    d.extend(both32(total));
    // The escape sequence of UCS-2 level 3 says that these are Joliet's names.
    let mut escapes = if joliet { b"%/E".to_vec() } else { Vec::new() };
    escapes.resize(32, 0);
    d.extend(escapes);
    d.extend(both16(1));
    d.extend(both16(1));
    d.extend(both16(SECTOR as u16));
    d.extend(both32(PATH_TABLE_BYTES));
    d.extend(PATH_TABLES[2 * index].to_le_bytes());
    d.extend([0; 4]);
    d.extend(PATH_TABLES[2 * index + 1].to_be_bytes());
    d.extend([0; 4]);
    d.extend(record(&[0], ROOTS[index], SECTOR as u32, true));
    // Volume set, publisher, preparer, application; copyright, abstract, bibliographic file.
    for len in [128, 128, 128, 128, 37, 37, 37] {
        d.extend(names.text("", len));
    }
    // Made, changed, expires, effective: not said [8.4.26.1].
    for _ in 0..4 {
        d.extend([b'0'; 16]);
        d.push(0);
    }
    d.extend([1, 0]);
    sector(d)
}

/// A path table with the root alone [9.4].
fn path_table(root: [u8; 4], parent: [u8; 2]) -> Vec<u8> {
    let mut table = vec![1, 0];
    table.extend(root);
    table.extend(parent);
    table.extend([0, 0]);
    table
}

/// The root folder [6.8.1]: itself, its parent (itself), the files.
fn folder(names: Names, files: &[File<'_>], places: &[u32]) -> Vec<u8> {
    let root = ROOTS[names.index()];
    let mut folder = record(&[0], root, SECTOR as u32, true);
    folder.extend(record(&[1], root, SECTOR as u32, true));
    for (file, place) in files.iter().zip(places) {
        let name = match names {
            Names::Primary => names.bytes(file.short),
            // Without `;1`, as the tools that make all other seeds write it; readers take both.
            Names::Joliet => names.bytes(file.name),
        };
        folder.extend(record(&name, *place, file.content.len() as u32, false));
    }
    sector(folder)
}

/// A folder's entry [9.1].
fn record(name: &[u8], place: u32, bytes: u32, is_folder: bool) -> Vec<u8> {
    let mut r = vec![0, 0];
    r.extend(both32(place));
    r.extend(both32(bytes));
    r.extend(TIME);
    r.extend([if is_folder { 2 } else { 0 }, 0, 0]);
    r.extend(both16(1));
    r.push(name.len() as u8);
    r.extend(name);
    if r.len() % 2 == 1 {
        r.push(0);
    }
    r[0] = r.len() as u8;
    r
}

/// A number in both byte orders [7.2.3].
fn both16(number: u16) -> Vec<u8> {
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}

/// A number in both byte orders [7.3.3].
fn both32(number: u32) -> Vec<u8> {
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}

/// How many sectors so many bytes take.
fn sectors(bytes: usize) -> u32 {
    bytes.div_ceil(SECTOR) as u32
}

/// Fills up to the next sector.
fn sector(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(sectors(bytes.len()) as usize * SECTOR, 0);
    bytes
}
