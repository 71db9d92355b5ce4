//! QR codes in the terminal.

use anyhow::Context as _;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// A QR code of half blocks, light on dark like most terminals; phones read both.
///
/// # Errors
/// If the text is too long for a QR code.
pub(super) fn qr(text: &str) -> anyhow::Result<String> {
    let code =
        QrCode::with_error_correction_level(text, EcLevel::L).context("too long for a QR")?;
    let mut image = code.render::<Dense1x2>();
    Ok(image.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qr_fits_a_terminal() {
        let text = "countersign:enrol?server=https%3A%2F%2Flocalhost%3A8443&tenant=acme&user=jane\
                    &code=7K2M-Q0XR-ZV4C-9HTD";
        let image = qr(text).unwrap();
        let widths: Vec<usize> = image.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0] && *width <= 80), "{widths:?}");
        assert!(image.lines().count() <= 40);
        assert!(image.chars().all(|letter| " ▄▀█\n".contains(letter)));
    }
}
