//! The report as one page that contains its styles, its script and its data.

use crate::report::Report;

/// Returns the page. Its script plots the report, which the page contains as JSON.
pub(crate) fn page(report: &Report) -> serde_json::Result<String> {
    // `</script>` in a string would end the script. JSON allows an escaped slash.
    let data = serde_json::to_string(report)?.replace("</", "<\\/");
    Ok(TEMPLATE
        .replace("/*STYLE*/", include_str!("page.css"))
        .replace("/*SCRIPT*/", include_str!("page.js"))
        .replace("/*DATA*/", &data))
}

const TEMPLATE: &str = include_str!("page.html");
