//! Values from the bytes of an input. Past its end all are zero, so each input is a script.

/// The rest of an input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Returns a number below `bound`, which is at most 256.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Returns a request id: a small one, unless the script says otherwise.
    pub(crate) fn id(&mut self) -> u64 {
        match self.byte() {
            255 => self.u64(),
            small => u64::from(small % 8),
        }
    }

    pub(crate) fn array<const LENGTH: usize>(&mut self) -> [u8; LENGTH] {
        let mut array = [0; LENGTH];
        let bytes = self.take(LENGTH);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    /// Returns at most 255 bytes, as many as the next byte says.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.take(length.into())
    }

    /// Returns the text at the start of such bytes.
    pub(crate) fn text(&mut self) -> &'a str {
        self.bytes().utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
