//! The events API: REST, a resumable stream and a web page.
