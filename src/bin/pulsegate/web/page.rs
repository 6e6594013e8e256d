//! The page: one HTML, one CSS and one JavaScript file in the executable.

use super::response::{Response, Status};

/// The parts of the script, in the order of their use.
const SCRIPT: &str = concat!(
    include_str!("page/dom.js"),
    include_str!("page/api.js"),
    include_str!("page/plot.js"),
    include_str!("page/tree.js"),
    include_str!("page/overview.js"),
    include_str!("page/devices.js"),
    include_str!("page/events.js"),
    include_str!("page/device.js"),
    include_str!("page/main.js"),
);

/// The file of that path.
pub(super) fn file(path: &str) -> Option<Response> {
    let (content_type, text) = match path {
        "/" => ("text/html; charset=utf-8", include_str!("page/index.html")),
        "/style.css" => ("text/css; charset=utf-8", include_str!("page/style.css")),
        "/page.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "/icon.svg" => ("image/svg+xml", include_str!("page/icon.svg")),
        _ => return None,
    };
    Some(Response::new(Status::Ok, content_type, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_at_most_80_kib_and_names_nothing_elsewhere() {
        let bodies = ["/", "/style.css", "/page.js", "/icon.svg"].map(|path| file(path).unwrap().body);
        assert!(bodies.iter().map(Vec::len).sum::<usize>() <= 80 << 10);
        for text in bodies.iter().map(|body| String::from_utf8_lossy(body)) {
            let links = text.matches("http").count() - text.matches("http://www.w3.org/2000/svg").count();
            assert_eq!(links, 0, "{text}");
            assert!(!text.contains("innerHTML"), "what devices send is text");
        }
    }
}
