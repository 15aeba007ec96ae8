//! What images cost, and where their size is found.

use proptest::prelude::*;
use ratekeeper::estimate::{Detail, Size, anthropic_image, openai_image};

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0DIHDR".to_vec();
    file.extend(width.to_be_bytes());
    file.extend(height.to_be_bytes());
    file
}

fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut file = b"\xFF\xD8\xFF\xE1\x01\x00".to_vec(); // a segment of 256 bytes in front, as a camera writes it
    file.extend([0; 254]);
    file.extend(b"\xFF\xFF\xC2\x00\x11\x08"); // a fill byte, then a progressive frame
    file.extend(height.to_be_bytes());
    file.extend(width.to_be_bytes());
    file
}

fn gif(width: u16, height: u16) -> Vec<u8> {
    let mut file = b"GIF89a".to_vec();
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file
}

fn webp(kind: [u8; 4], rest: &[u8]) -> Vec<u8> {
    [b"RIFF\x00\x00\x00\x00WEBP", kind.as_slice(), b"\x00\x00\x00\x00", rest].concat()
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = |group: &[u8]| {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - group.len()));
        let letter = move |i: usize| if i > group.len() { b'=' } else { LETTERS[bits >> (18 - 6 * i) & 63] };
        (0..4).map(letter).collect::<Vec<_>>()
    };
    bytes.chunks(3).flat_map(letters).collect()
}

#[test]
fn openai_prices_tiles_after_scaling_down() {
    let price = |width, height| openai_image(Some(Size { width, height }), Detail::High);
    assert_eq!(price(512, 512), 85 + 170);
    assert_eq!(price(1024, 1024), 765, "scaled to 768 x 768: four tiles");
    assert_eq!(price(2048, 4096), 1105, "scaled to 768 x 1536: six tiles");
    assert_eq!(openai_image(Some(Size { width: 4096, height: 8192 }), Detail::Low), 85);
    assert_eq!(openai_image(None, Detail::High), 765);
}

#[test]
fn anthropic_prices_the_area_up_to_a_limit() {
    assert_eq!(anthropic_image(Some(Size { width: 200, height: 200 })), 54);
    assert_eq!(anthropic_image(Some(Size { width: 1000, height: 1000 })), 1334);
    assert_eq!(anthropic_image(Some(Size { width: 8000, height: 8000 })), 1600);
    assert_eq!(anthropic_image(None), 1600);
}

#[test]
fn the_size_of_an_image_is_read_from_its_header() {
    let lossless = webp(*b"VP8L", &[0x2F, 0x3F, 0xC1, 0x31, 0x00]); // 14 bits each, less one: 0x13F and 0xC7
    let files = [
        png(320, 200),
        jpeg(320, 200),
        gif(320, 200),
        webp(*b"VP8 ", &[0, 0, 0, 0x9D, 0x01, 0x2A, 0x40, 0x01, 0xC8, 0x00]),
        lossless,
        webp(*b"VP8X", &[0, 0, 0, 0, 0x3F, 0x01, 0x00, 0xC7, 0x00, 0x00]),
    ];
    for file in files {
        assert_eq!(Size::of_file(&file), Some(Size { width: 320, height: 200 }), "{file:x?}");
        assert_eq!(Size::of_base64(&base64(&file)), Size::of_file(&file), "{file:x?}");
    }
}

#[test]
fn an_image_without_pixels_or_without_a_known_header_has_no_size() {
    assert_eq!(Size::of_file(&png(0, 200)), None);
    assert_eq!(Size::of_file(&png(320, 200)[..20]), None);
    assert_eq!(Size::of_file(b"%PDF-1.7"), None);
}

proptest! {
    #[test]
    fn any_bytes_may_come_as_an_image(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert_eq!(Size::of_file(&bytes), Size::of_base64(&base64(&bytes)));
    }

    #[test]
    fn a_damaged_image_is_no_trouble(mut file in prop::sample::select(vec![png(9, 9), jpeg(9, 9), gif(9, 9)]),
                                     damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8)) {
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        prop_assert_eq!(Size::of_file(&file), Size::of_base64(&base64(&file)));
        let price = openai_image(Size::of_file(&file), Detail::High);
        prop_assert!((85 + 170..=85 + 8 * 170).contains(&price), "{}", price);
        prop_assert!((1..=1600).contains(&anthropic_image(Size::of_file(&file))));
    }
}
