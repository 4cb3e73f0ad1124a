//! Protobuf fields, written and read here without the library's codec, whose faults must not hide themselves.

/// A field of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) tag: u64,
    pub(super) value: FieldValue,
}

/// The value of a field, by its wire type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FieldValue {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(Vec<u8>),
    Fixed32([u8; 4]),
}

impl FieldValue {
    /// Returns the number of a varint.
    pub(super) fn number(&self) -> Option<u64> {
        if let Self::Varint(value) = self { Some(*value) } else { None }
    }

    /// Returns the content of a length-delimited field.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }
}

/// Appends a varint in its shortest form.
pub(super) fn put_varint(mut value: u64, to: &mut Vec<u8>) {
    while value > 0x7f {
        to.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    to.push(value.to_le_bytes()[0]);
}

/// Returns a field of wire type 0.
pub(super) fn varint(tag: u64, value: u64) -> Vec<u8> {
    let mut field = Vec::new();
    put_varint(tag << 3, &mut field);
    put_varint(value, &mut field);
    field
}

/// Returns a field of wire type 2.
pub(super) fn bytes(tag: u64, value: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    put_varint(tag << 3 | 2, &mut field);
    put_varint(value.len() as u64, &mut field);
    field.extend_from_slice(value);
    field
}

/// Returns the fields of a message in their order, or why it is none. A group is refused: no message of the wire has one.
pub(super) fn fields(message: &[u8]) -> Result<Vec<Field>, String> {
    let mut rest = message;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let at = message.len() - rest.len();
        let field = field(&mut rest);
        fields.push(field.map_err(|reason| format!("the field at byte {at} of {} {reason}", message.len()))?);
    }
    Ok(fields)
}

fn field(rest: &mut &[u8]) -> Result<Field, String> {
    let key = take_varint(rest)?;
    let tag = key >> 3;
    if tag == 0 || tag > 0x1fff_ffff {
        return Err(format!("has the tag {tag}, which none can have"));
    }
    let value = match key & 7 {
        0 => FieldValue::Varint(take_varint(rest)?),
        1 => FieldValue::Fixed64(take_array(rest)?),
        2 => {
            let length = take_varint(rest)?;
            let content = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
            let (content, behind) =
                content.ok_or_else(|| format!("has {length} bytes, and {} follow", rest.len()))?;
            *rest = behind;
            FieldValue::Bytes(content.to_vec())
        }
        5 => FieldValue::Fixed32(take_array(rest)?),
        wire_type => return Err(format!("with the tag {tag} has the wire type {wire_type}")),
    };
    Ok(Field { tag, value })
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for index in 0..10 {
        let (&byte, behind) = rest.split_first().ok_or("ends within a varint")?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return if index == 9 && byte > 1 { Err("has a varint above 64 bits".into()) } else { Ok(value) };
        }
    }
    Err("has a varint of more than 10 bytes".into())
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (array, behind) = rest.split_first_chunk().ok_or("ends within a number")?;
    *rest = behind;
    Ok(*array)
}
