//! Errors of commands and the texts of their replies.

use crate::store::IncrementError;

/// The reason to refuse a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandError {
    Unknown,
    Arity,
    /// A key of MSET has no value.
    MsetArity,
    Subcommand,
    Syntax,
    NotAnInteger,
    Overflow,
    DecrementOverflow,
    ExpireTime,
    DbIndex,
    DbIndexRange,
    ClientName,
    ConfigParameter,
    ProtocolNumber,
    ProtocolVersion,
    Password,
    /// The option of HELLO at this position.
    HelloOption(usize),
}

impl CommandError {
    /// Returns the first word of the error reply.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::ProtocolVersion => "NOPROTO",
            Self::Password => "WRONGPASS",
            _ => "ERR",
        }
    }

    /// Returns the text of the error reply behind that word, for a command with these arguments.
    pub(super) fn text(self, arguments: &[&[u8]]) -> Vec<u8> {
        let text: &[u8] = match self {
            Self::Unknown => return unknown_command(arguments),
            Self::Arity => {
                let name = arguments[0].to_ascii_lowercase();
                return [b"wrong number of arguments for '", &name[..], b"' command"].concat();
            }
            Self::MsetArity => b"wrong number of arguments for MSET",
            Self::Subcommand => {
                let (command, subcommand) = (arguments[0].to_ascii_uppercase(), c_string(arguments[1]));
                let start = b"Unknown subcommand or wrong number of arguments for '";
                let end: &[u8] = if command == b"CLIENT" { b" HELP" } else { b" HELP." };
                return [start, subcommand, b"'. Try ", &command, end].concat();
            }
            Self::Syntax => b"syntax error",
            Self::NotAnInteger => b"value is not an integer or out of range",
            Self::Overflow => b"increment or decrement would overflow",
            Self::DecrementOverflow => b"decrement would overflow",
            Self::ExpireTime => b"invalid expire time in set",
            Self::DbIndex => b"invalid DB index",
            Self::DbIndexRange => b"DB index is out of range",
            Self::ClientName => b"Client names cannot contain spaces, newlines or special characters.",
            Self::ConfigParameter => {
                return [b"Unsupported CONFIG parameter: ", c_string(arguments[2])].concat();
            }
            Self::ProtocolNumber => b"Protocol version is not an integer or out of range",
            Self::ProtocolVersion => b"unsupported protocol version",
            Self::Password => b"invalid username-password pair or user is disabled.",
            Self::HelloOption(at) => {
                return [b"Syntax error in HELLO option '", c_string(arguments[at]), b"'"].concat();
            }
        };
        text.to_vec()
    }
}

impl From<IncrementError> for CommandError {
    fn from(error: IncrementError) -> Self {
        match error {
            IncrementError::NotAnInteger => Self::NotAnInteger,
            IncrementError::Overflow => Self::Overflow,
        }
    }
}

/// Returns the text about an unknown command. Its arguments are quoted up to 128 bytes.
fn unknown_command(arguments: &[&[u8]]) -> Vec<u8> {
    const LIMIT: usize = 128;
    let mut quoted = Vec::new();
    for argument in &arguments[1..] {
        if quoted.len() >= LIMIT {
            break;
        }
        let argument = c_string(argument);
        let shown = &argument[..argument.len().min(LIMIT - quoted.len())];
        quoted.extend_from_slice(&[b"`", shown, b"`, "].concat());
    }
    [b"unknown command `", c_string(arguments[0]), b"`, with args beginning with: ", &quoted].concat()
}

/// Returns the argument up to its first NUL, as a C function prints it.
fn c_string(argument: &[u8]) -> &[u8] {
    argument.split(|&byte| byte == 0).next().unwrap_or_default()
}
