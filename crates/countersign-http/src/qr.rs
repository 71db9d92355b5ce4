//! QR codes as PNG images.

use qrcode::{Color, EcLevel, QrCode};

/// Pixels of one module, each way.
const SCALE: usize = 4;
/// White modules around the code (ISO/IEC 18004).
const QUIET: usize = 4;

/// The text as a QR code, a PNG in black and white; `None` if the text is too long.
pub fn qr(text: &str) -> Option<Vec<u8>> {
    let code = [EcLevel::M, EcLevel::L]
        .into_iter()
        .find_map(|level| QrCode::with_error_correction_level(text.as_bytes(), level).ok())?;
    let modules = code.width();
    let side = (modules + 2 * QUIET) * SCALE;
    let connection = side.div_ceil(8);
    let mut pixels = vec![0xff; connection * side];
    for y in 0..modules * SCALE {
        for x in 0..modules * SCALE {
            if code[(x / SCALE, y / SCALE)] == Color::Dark {
                let (x, y) = (x + QUIET * SCALE, y + QUIET * SCALE);
                pixels[y * connection + x / 8] &= !(0x80 >> (x % 8));
            }
        }
    }

    let mut picture = Vec::new();
    let mut encoder = png::Encoder::new(&mut picture, side as u32, side as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().expect("a Vec takes everything");
    writer.write_image_data(&pixels).expect("the pixels are as many as the header says");
    writer.finish().expect("a Vec takes everything");
    Some(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The side of a square image, and a function that says whether a pixel is dark, read from the
    /// PNG.
    fn pixels(picture: &[u8]) -> (usize, impl Fn(usize, usize) -> bool) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(picture)).read_info().unwrap();
        let mut rows = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut rows).unwrap();
        assert_eq!(info.width, info.height);
        let connection = info.line_size;
        (info.width as usize, move |x, y| rows[y * connection + x / 8] & (0x80 >> (x % 8)) == 0)
    }

    #[test]
    fn the_picture_is_the_code_with_white_around_it() {
        let text = "countersign:enrol?server=https%3A%2F%2Flocalhost%3A8443&tenant=acme&user=jane";
        let picture = qr(text).unwrap();
        let (side, is_dark) = pixels(&picture);
        let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::M).unwrap();
        assert_eq!(side, (code.width() + 8) * 4);
        let inside = 16..16 + code.width() * 4;
        for y in 0..side {
            for x in 0..side {
                let expected = inside.contains(&x)
                    && inside.contains(&y)
                    && code[(x / 4 - 4, y / 4 - 4)] == Color::Dark;
                assert_eq!(is_dark(x, y), expected, "{x}, {y}");
            }
        }
        assert_eq!(qr(&"x".repeat(3_000)), None);
    }
}
