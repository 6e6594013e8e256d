//! The report as one page that needs nothing else: styles, script and numbers are in it.

use crate::report::Report;

/// The page. Its script draws what the report, which lies in it as JSON, says.
pub(crate) fn page(report: &Report) -> serde_json::Result<String> {
    // `</script>` in a string would end the script: JSON lets the slash be escaped.
    let data = serde_json::to_string(report)?.replace("</", "<\\/");
    Ok(TEMPLATE
        .replace("/*STYLE*/", include_str!("page.css"))
        .replace("/*SCRIPT*/", include_str!("page.js"))
        .replace("/*DATA*/", &data))
}

const TEMPLATE: &str = include_str!("page.html");
