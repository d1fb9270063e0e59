//! Files of plain values, memory-mapped. The only `unsafe` code of the crate.

use bytemuck::Pod;
use memmap2::Mmap;
use std::fs::File;
use std::marker::PhantomData;
use std::path::Path;

/// A file seen as a slice of `T`; the operating system reads pages when they are touched.
#[derive(Debug)]
pub(crate) struct Mapped<T> {
    /// `None`: an empty file, which cannot be mapped.
    map: Option<Mmap>,
    of: PhantomData<fn() -> T>,
}

impl<T: Pod> Mapped<T> {
    /// Maps a file that must hold exactly `len` values.
    pub(crate) fn open(path: &Path, len: u64) -> anyhow::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        anyhow::ensure!(Some(bytes) == len.checked_mul(size_of::<T>() as u64), "`{}` has {bytes} bytes", path.display());
        if bytes == 0 {
            return Ok(Self { map: None, of: PhantomData });
        }
        // SAFETY: a store's files are complete before the folder gets its name and are never written afterwards; `T` is plain data, for
        // which any bytes are valid. Someone truncating a file of a store in use would end the process with a bus error, as with every
        // mapped file.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file)? };
        anyhow::ensure!(bytemuck::try_cast_slice::<u8, T>(&map).is_ok(), "`{}` is not aligned", path.display());
        Ok(Self { map: Some(map), of: PhantomData })
    }

    /// The values.
    #[inline]
    pub(crate) fn all(&self) -> &[T] {
        self.map.as_ref().map_or(&[], |map| bytemuck::cast_slice(map))
    }
}
