//! Tips about wrong arguments: what other tools call a thing, and the names of services.

use crate::services;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// Commands of other tools, and what they are called here.
const COMMANDS: [(&str, &str); 5] =
    [("list", "ps"), ("ls", "ps"), ("kill", "stop"), ("log", "logs"), ("stats", "status")];

/// Adds a tip to an error, if there is one, in the place of a less apt one.
pub(super) fn with_tip(mut error: Error) -> Error {
    let invalid = |kind| match error.get(kind) {
        Some(ContextValue::String(name)) => Some(name.clone()),
        Some(ContextValue::Strings(names)) => Some(names.join(" ")),
        _ => None,
    };
    let tip = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let name = invalid(ContextKind::InvalidSubcommand);
            let command = COMMANDS.iter().find(|(other, _)| name.as_deref() == Some(other));
            command.map(|(_, command)| {
                (ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![(*command).to_owned()]))
            })
        }
        ErrorKind::UnknownArgument if invalid(ContextKind::InvalidArg).as_deref() == Some("--tail") => {
            Some((ContextKind::SuggestedArg, ContextValue::String("--lines".to_owned())))
        }
        ErrorKind::MissingRequiredArgument
            if invalid(ContextKind::InvalidArg).is_some_and(|missing| missing.contains("NAME")) =>
        {
            let known = services::known_names();
            known.map(|known| (ContextKind::Suggested, ContextValue::StyledStrs(vec![known.into()])))
        }
        _ => None,
    };
    if let Some((kind, tip)) = tip {
        error.insert(kind, tip);
    }
    error
}
