//! Writes the fixtures of the repository `storefront/web`: `cargo run -p tests --bin storefront`.

use std::fs;

use tests::binaries::fixture;
use tests::storefront;

fn main() -> std::io::Result<()> {
    for (name, text) in storefront::FILES {
        let file = fixture(name);
        fs::write(&file, text())?;
        println!("{}", file.display());
    }
    Ok(())
}
