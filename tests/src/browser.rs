//! Pages shown by a real browser, where this machine has one.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::material::environment;

/// Names under which systems install it.
const BROWSERS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "chrome-headless-shell"];

/// Asserts that headless Chromium shows a page in a narrow and a wide window, light and dark, with no complaint on its console, no
/// other file asked for and nothing beside the window.
///
/// Without a browser it says so on the terminal.
///
/// # Panics
///
/// If one of this does not hold; or if there is no browser and `XCOMP_REQUIRE_BROWSER=1`.
pub fn assert_page_is_shown(page: &Path) {
    let Some(browser) = BROWSERS.into_iter().find(|name| starts(name)) else {
        let required = environment("XCOMP_REQUIRE_BROWSER").is_some_and(|value| value == "1");
        assert!(!required, "no browser among {BROWSERS:?}");
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {}: no browser among {BROWSERS:?}",
            page.display()
        );
        return;
    };
    for width in [500, 1280] {
        let [light, dark] = ["light", "dark"].map(|scheme| shown(browser, page, width, scheme));
        assert_ne!(light, dark, "{}: one ground for light and dark", page.display());
    }
}

fn starts(browser: &str) -> bool {
    Command::new(browser).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Shows a page; gives the colour of its ground.
fn shown(browser: &str, page: &Path, width: usize, scheme: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    // A copy that measures itself, with a script that the page does not have.
    let copy = folder.path().join("page.html");
    let measure = "<script>const asked = performance.getEntriesByType('resource').length;\
                   document.title = `${document.documentElement.scrollWidth} ${innerWidth} ${asked}`;\
                   console.log(`colours ${getComputedStyle(document.body).backgroundColor}`)</script>";
    let text = std::fs::read_to_string(page).unwrap();
    std::fs::write(&copy, [&text, measure].concat()).unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=2000"])
        .arg(format!("--window-size={width},900"))
        .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(scheme == "light")))
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", copy.display()))
        .output()
        .unwrap();
    let what = format!("{}, {width} wide, {scheme}", page.display());
    let (dom, told) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {told}");
    let said: Vec<&str> = told.lines().filter(|line| line.contains("CONSOLE")).collect();
    let ground = match said[..] {
        [line] => line.split_once("colours rgb").and_then(|(_, colour)| colour.split_once(')')),
        _ => None,
    };
    let (ground, _) = ground.unwrap_or_else(|| panic!("{what}: the console says {said:?}; {told}"));
    let title = dom.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    let (numbers, _) = title.expect("a title");
    let numbers: Vec<usize> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
    let [content, window, asked] = numbers[..] else { panic!("{what}: {numbers:?}") };
    assert_eq!(asked, 0, "{what}: asks for other files");
    assert!(content <= window, "{what}: {content} pixels in a window of {window}");
    ground.to_owned()
}
