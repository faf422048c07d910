// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of user domains, with a driver made up for that.

use crate::{
    kunit::warnings,
    user_domain::*, //
};
use core::{
    mem,
    ptr, //
};
use kernel::{
    bindings,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

const EBUSY: c_int = -(bindings::EBUSY as c_int);
#[cfg(CONFIG_IOMMU_DMA)]
const EEXIST: c_int = -(bindings::EEXIST as c_int);
const EFAULT: c_int = -(bindings::EFAULT as c_int);
const EINVAL: c_int = -(bindings::EINVAL as c_int);
const ENOMEM: c_int = -(bindings::ENOMEM as c_int);
const ENOSPC: c_int = -(bindings::ENOSPC as c_int);
const EOPNOTSUPP: c_int = -(bindings::EOPNOTSUPP as c_int);

const NONE: u32 = bindings::IOMMU_DOMAIN_DATA_OWNER_NONE;
#[cfg(CONFIG_IOMMU_DMA)]
const DMA: u32 = bindings::IOMMU_DOMAIN_DATA_OWNER_DMA;
const DMA_MSI: u32 = bindings::IOMMU_DOMAIN_DATA_OWNER_DMA_MSI;
const FAULT_HANDLER: u32 = bindings::IOMMU_DOMAIN_DATA_OWNER_FAULT_HANDLER;
const KVA: u32 = bindings::IOMMU_DOMAIN_DATA_OWNER_KVA;

/// Every type of domain that there is.
const TYPES: [u32; 7] = [
    bindings::IOMMU_DOMAIN_BLOCKED,
    bindings::__IOMMU_DOMAIN_PT,
    bindings::__IOMMU_DOMAIN_PAGING,
    bindings::__IOMMU_DOMAIN_PAGING
        | bindings::__IOMMU_DOMAIN_DMA_API
        | bindings::__IOMMU_DOMAIN_DMA_FQ,
    bindings::__IOMMU_DOMAIN_SVA,
    bindings::__IOMMU_DOMAIN_PLATFORM,
    bindings::__IOMMU_DOMAIN_NESTED,
];

/// # Safety
///
/// As for an IOMMU driver's operation.
unsafe extern "C" fn no_free(_domain: *mut bindings::iommu_domain) {}

/// A domain that stays where it is.
struct Domain {
    domain: bindings::iommu_domain,
    ops: bindings::iommu_domain_ops,
}

impl Domain {
    fn new() -> Result<KBox<Self>> {
        // SAFETY: Both are C structures for which zeroes are valid.
        let mut this: KBox<Self> = KBox::new(unsafe { mem::zeroed() }, GFP_KERNEL | __GFP_ZERO)?;

        this.ops.free = Some(no_free);
        this.domain.ops = &raw const this.ops;
        this.domain.type_ = bindings::__IOMMU_DOMAIN_PAGING as u16;
        Ok(this)
    }

    fn raw(&mut self) -> *mut bindings::iommu_domain {
        &raw mut self.domain
    }

    fn claim(&mut self, owner: u32) -> c_int {
        // SAFETY: The domain is valid.
        unsafe { iommu_domain_set_data_owner(self.raw(), owner) }
    }

    fn give_up(&mut self, owner: u32) {
        // SAFETY: The domain is valid.
        unsafe { iommu_domain_clear_data_owner(self.raw(), owner) }
    }

    fn owner(&self) -> u32 {
        self.domain.data_owner.into()
    }
}

const NEST_PARENT: u32 = 1;
const DIRTY_TRACKING: u32 = 2;
const PASID: u32 = 8;

const PAGING_DATA: u32 = 0x70;
const NESTED_DATA: u32 = 0x71;

/// Bytes of the driver's user data, and of its first version.
const LEN: usize = 8;
const MIN_LEN: usize = 4;
const KNOWN: [u8; LEN] = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];

/// What the driver was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Paging {
        stage: u32,
        flags: u32,
        gfp: u32,
        data: Option<[u8; LEN]>,
    },
    Nested {
        parent: *mut bindings::iommu_domain,
        flags: u32,
        data: Option<[u8; LEN]>,
    },
}

/// A device, and the IOMMU that serves it. The device comes first.
#[repr(C)]
struct Fixture {
    dev: bindings::device,
    param: bindings::dev_iommu,
    iommu: bindings::iommu_device,
    ops: bindings::iommu_ops,
    driver: bindings::iommu_user_domain_driver,
    paging_data: bindings::iommu_user_domain_format,
    nested_data: bindings::iommu_user_domain_format,
    abilities: bindings::iommu_user_domain_abilities,
    domain: bindings::iommu_domain,
    parent: bindings::iommu_domain,
    answer: *mut bindings::iommu_domain,
    told: Told,
}

/// # Safety
///
/// As for an IOMMU driver's operation.
unsafe extern "C" fn say_abilities(
    dev: *mut bindings::device,
    abilities: *mut bindings::iommu_user_domain_abilities,
) {
    // SAFETY: The device is a fixture's.
    unsafe { *abilities = (*dev.cast::<Fixture>()).abilities };
}

/// # Safety
///
/// `data` must be NULL or what a driver gets.
unsafe fn copy_of(data: *const bindings::iommu_user_data) -> Option<[u8; LEN]> {
    // SAFETY: By the safety requirements.
    let data = unsafe { data.as_ref() }?;

    if data.len != LEN || !data.uptr.is_null() {
        return Some([0xee; LEN]);
    }
    // SAFETY: By the safety requirements.
    Some(unsafe { *data.checked.cast::<[u8; LEN]>() })
}

/// # Safety
///
/// As for an IOMMU driver's operation.
unsafe extern "C" fn alloc_paging(
    dev: *mut bindings::device,
    stage: u32,
    flags: u32,
    data: *const bindings::iommu_user_data,
    gfp: bindings::gfp_t,
) -> *mut bindings::iommu_domain {
    // SAFETY: The device is a fixture's.
    unsafe {
        let fixture = dev.cast::<Fixture>();
        let data = copy_of(data);

        (*fixture).told = Told::Paging {
            stage,
            flags,
            gfp,
            data,
        };
        (*fixture).answer
    }
}

/// # Safety
///
/// As for an IOMMU driver's operation.
unsafe extern "C" fn alloc_nested(
    dev: *mut bindings::device,
    parent: *mut bindings::iommu_domain,
    flags: u32,
    data: *const bindings::iommu_user_data,
) -> *mut bindings::iommu_domain {
    // SAFETY: The device is a fixture's.
    unsafe {
        let fixture = dev.cast::<Fixture>();
        let data = copy_of(data);

        (*fixture).told = Told::Nested {
            parent,
            flags,
            data,
        };
        (*fixture).answer
    }
}

/// User data as iommufd passes it.
fn user_data(kind: u32, uptr: usize, len: usize) -> bindings::iommu_user_data {
    bindings::iommu_user_data {
        type_: kind,
        uptr: ptr::without_provenance_mut(uptr),
        len,
        checked: ptr::null(),
    }
}

impl Fixture {
    /// All is possible on the first stage, tracking and being a parent also on the second.
    fn new() -> Result<KBox<Self>> {
        let mut this: KBox<mem::MaybeUninit<Self>> = KBox::new_uninit(GFP_KERNEL)?;
        // SAFETY: Zeroes are valid for all of the C structures, and `told` is written.
        let mut this = unsafe {
            this.as_mut_ptr().write_bytes(0, 1);
            (&raw mut (*this.as_mut_ptr()).told).write(Told::Nothing);
            this.assume_init()
        };
        let format = |kind| bindings::iommu_user_domain_format {
            type_: kind,
            min_len: MIN_LEN,
            len: LEN,
            known: KNOWN.as_ptr().cast(),
        };

        this.dev.init_name = c"user-domain-kunit".as_char_ptr();
        this.dev.iommu = &raw mut this.param;
        this.param.iommu_dev = &raw mut this.iommu;
        this.iommu.ops = &raw const this.ops;
        this.paging_data = format(PAGING_DATA);
        this.nested_data = format(NESTED_DATA);
        this.driver = bindings::iommu_user_domain_driver {
            name: c"kunit".as_char_ptr(),
            paging_data: &raw const this.paging_data,
            nested_data: &raw const this.nested_data,
            abilities: Some(say_abilities),
            alloc_paging: Some(alloc_paging),
            alloc_nested: Some(alloc_nested),
        };
        this.can(PASID, NEST_PARENT | DIRTY_TRACKING, PASID);
        this.parent.owner = &raw const this.ops;
        this.parent.user_flags = NEST_PARENT;
        this.answer = &raw mut this.domain;
        Ok(this)
    }

    fn can(&mut self, first: u32, second: u32, nested: u32) {
        let able = |flags| bindings::iommu_user_domain_ability {
            possible: true,
            flags,
        };
        self.abilities = bindings::iommu_user_domain_abilities {
            first: able(first),
            second: able(second),
            nested: able(nested),
        };
    }

    fn errno(&mut self, domain: *mut bindings::iommu_domain) -> c_int {
        if ptr::eq(domain, self.answer) {
            0
        } else {
            domain.addr() as isize as c_int
        }
    }

    fn paging(&mut self, flags: u32, data: Option<bindings::iommu_user_data>) -> c_int {
        let data = data.as_ref().map_or(ptr::null(), ptr::from_ref);
        let (dev, driver) = (&raw mut self.dev, &raw const self.driver);

        self.told = Told::Nothing;
        // SAFETY: The device is served by the driver, which is complete.
        let domain =
            unsafe { iommu_driver_domain_alloc_user(dev, flags, ptr::null_mut(), data, driver) };
        self.errno(domain)
    }

    fn nested(&mut self, flags: u32, data: Option<bindings::iommu_user_data>) -> c_int {
        let data = data.as_ref().map_or(ptr::null(), ptr::from_ref);
        let (dev, driver) = (&raw mut self.dev, &raw const self.driver);
        let parent = &raw mut self.parent;

        self.told = Told::Nothing;
        // SAFETY: As in `paging`; the parent is valid.
        let domain = unsafe { iommu_driver_domain_alloc_user(dev, flags, parent, data, driver) };
        self.errno(domain)
    }

    fn told_paging(&self, stage: u32, flags: u32, data: Option<[u8; LEN]>) -> bool {
        self.told
            == Told::Paging {
                stage,
                flags,
                gfp: bindings::GFP_KERNEL_ACCOUNT,
                data,
            }
    }
}

const FIRST: u32 = bindings::iommu_user_domain_stage_IOMMU_USER_DOMAIN_FIRST;
const SECOND: u32 = bindings::iommu_user_domain_stage_IOMMU_USER_DOMAIN_SECOND;

/// Two pages of userspace, the second of which cannot be reached.
fn user_page() -> Result<usize> {
    const READ_WRITE: c_ulong = 3;
    const PRIVATE_ANONYMOUS: c_ulong = 0x22;

    // SAFETY: A test is running, in this task, which has no memory of its own before.
    let addr = unsafe {
        bindings::kunit_vm_mmap(
            bindings::kunit_get_current_test(),
            ptr::null_mut(),
            0,
            2 * PAGE_SIZE,
            READ_WRITE,
            PRIVATE_ANONYMOUS,
            0,
        )
    };
    if addr == 0 {
        return Err(kernel::error::code::ENOMEM);
    }
    // SAFETY: The second page is part of what was mapped.
    unsafe { bindings::vm_munmap(addr + PAGE_SIZE, PAGE_SIZE) };
    Ok(addr)
}

fn write_user(at: usize, data: &[u8]) -> Result {
    UserSlice::new(UserPtr::from_addr(at), data.len())
        .writer()
        .write_slice(data)
}

const PAGE_SIZE: usize = kernel::page::PAGE_SIZE;

#[kunit_tests(iommu_ext_user_domain)]
mod tests {
    use super::*;

    #[test]
    fn owned_by_one() -> Result {
        let mut domain = Domain::new()?;

        for owner in NONE + 1..=KVA {
            assert_eq!(domain.claim(owner), 0);
            for other in NONE + 1..=KVA {
                assert_eq!(domain.claim(other), EBUSY);
                assert_eq!(domain.owner(), owner);
            }
            domain.give_up(owner);
            assert_eq!(domain.owner(), NONE);
        }
        Ok(())
    }

    #[test]
    fn unknown_owner() -> Result {
        let mut domain = Domain::new()?;

        for owner in [NONE, KVA + 1, 0x1_0001, u32::MAX] {
            assert_eq!(domain.claim(owner), EINVAL);
        }
        assert_eq!(domain.owner(), NONE);
        Ok(())
    }

    #[test]
    fn static_domain() -> Result {
        let mut domain = Domain::new()?;

        domain.ops.free = None;
        assert_eq!(domain.claim(KVA), EINVAL);
        assert_eq!(domain.owner(), NONE);

        // Its operations say it; one that has none yet is not.
        domain.domain.ops = ptr::null();
        assert_eq!(domain.claim(KVA), 0);
        Ok(())
    }

    #[test]
    fn given_up_by_another() -> Result {
        let mut domain = Domain::new()?;

        assert_eq!(warnings(|| domain.give_up(KVA)), 1);
        assert_eq!(warnings(|| domain.give_up(NONE)), 1);
        assert_eq!(domain.claim(KVA), 0);
        for other in [NONE, DMA_MSI, KVA + 1, KVA + 0x1_0000] {
            assert_eq!(warnings(|| domain.give_up(other)), 1);
            assert_eq!(domain.owner(), KVA);
        }
        assert_eq!(warnings(|| domain.give_up(KVA)), 0);
        Ok(())
    }

    /// Both halves of the word are there, and neither touches the other.
    #[test]
    fn type_is_undisturbed() -> Result {
        let mut domain = Domain::new()?;

        assert_eq!(mem::offset_of!(bindings::iommu_domain, type_), 0);
        assert_eq!(mem::offset_of!(bindings::iommu_domain, data_owner), 2);
        for kind in TYPES {
            domain.domain.type_ = kind as u16;
            assert_eq!(u32::from(domain.domain.type_), kind);
            for owner in NONE + 1..=KVA {
                assert_eq!(domain.claim(owner), 0);
                assert_eq!(u32::from(domain.domain.type_), kind);
                domain.domain.type_ = 0;
                assert_eq!(domain.owner(), owner);
                domain.domain.type_ = kind as u16;
                domain.give_up(owner);
                assert_eq!(u32::from(domain.domain.type_), kind);
            }
        }
        Ok(())
    }

    /// Whoever claims owes no data.
    #[test]
    fn claimed_and_freed() -> Result {
        for owner in NONE + 1..=KVA {
            let mut domain = Domain::new()?;

            assert_eq!(domain.claim(owner), 0);
            // SAFETY: The domain is valid; there is nothing to be freed.
            unsafe { bindings::iommu_domain_free(domain.raw()) };
            assert_eq!(domain.owner(), NONE);
        }
        Ok(())
    }

    /// A cookie is got by a domain that has none, and stays its only one until that is freed.
    #[cfg(CONFIG_IOMMU_DMA)]
    fn cookie(owner: u32, get: fn(*mut bindings::iommu_domain) -> c_int) -> Result {
        let mut domain = Domain::new()?;
        let raw = domain.raw();

        assert_eq!(domain.claim(KVA), 0);
        assert_eq!(get(raw), EEXIST);
        assert_eq!(domain.owner(), KVA);
        domain.give_up(KVA);

        assert_eq!(get(raw), 0);
        assert_eq!(domain.owner(), owner);
        // SAFETY: The union holds a pointer, whatever it points to.
        let pointer = |domain: &Domain| unsafe { domain.domain.__bindgen_anon_1.msi_cookie };
        let cookie = pointer(&domain);
        assert!(!cookie.is_null());
        assert_eq!(get(raw), EEXIST);
        assert_eq!(domain.claim(KVA), EBUSY);
        assert!(ptr::eq(cookie, pointer(&domain)));

        // SAFETY: The domain is valid; all that is freed is the cookie.
        unsafe { bindings::iommu_domain_free(raw) };
        assert_eq!(domain.owner(), NONE);
        Ok(())
    }

    #[test]
    #[cfg(CONFIG_IOMMU_DMA)]
    fn msi_cookie() -> Result {
        // SAFETY: The domain is valid.
        cookie(DMA_MSI, |raw| unsafe {
            bindings::iommu_get_msi_cookie(raw, 0)
        })
    }

    #[test]
    #[cfg(CONFIG_IOMMU_DMA)]
    fn dma_cookie() -> Result {
        // SAFETY: The domain is valid.
        cookie(DMA, |raw| unsafe { bindings::iommu_get_dma_cookie(raw) })
    }

    #[test]
    fn fault_handler() -> Result {
        let mut domain = Domain::new()?;
        let raw = domain.raw();
        // SAFETY: The domain is valid, and no fault is ever reported.
        let set = || unsafe { bindings::iommu_set_fault_handler(raw, None, ptr::null_mut()) };

        set();
        assert_eq!(domain.owner(), FAULT_HANDLER);
        assert_eq!(warnings(set), 1);
        assert_eq!(domain.claim(KVA), EBUSY);
        Ok(())
    }

    #[test]
    fn paging_flags() -> Result {
        let mut f = Fixture::new()?;

        for (flags, stage) in [
            (0, FIRST),
            (PASID, FIRST),
            (NEST_PARENT, SECOND),
            (DIRTY_TRACKING, SECOND),
            (NEST_PARENT | DIRTY_TRACKING, SECOND),
        ] {
            f.domain.user_flags = 0;
            assert_eq!(f.paging(flags, None), 0);
            assert!(f.told_paging(stage, flags, None));
            assert_eq!(f.domain.user_flags, flags);
        }

        // Neither stage can do both; nobody knows these.
        for flags in [PASID | NEST_PARENT, 4, 16, 1 << 31, u32::MAX] {
            assert_eq!(f.paging(flags, None), EOPNOTSUPP);
            assert_eq!(f.told, Told::Nothing);
        }

        // Not even if a driver says that it can.
        f.can(u32::MAX, u32::MAX, u32::MAX);
        assert_eq!(f.paging(16, None), EOPNOTSUPP);
        f.abilities.first.possible = false;
        assert_eq!(f.paging(0, None), 0);
        assert!(f.told_paging(SECOND, 0, None));
        f.abilities.second.possible = false;
        assert_eq!(f.paging(0, None), EOPNOTSUPP);
        assert_eq!(f.told, Told::Nothing);
        Ok(())
    }

    #[test]
    fn for_the_kernel() -> Result {
        let mut f = Fixture::new()?;
        let (dev, driver) = (&raw mut f.dev, &raw const f.driver);
        // SAFETY: As in `Fixture::paging`.
        let alloc =
            |flags| unsafe { iommu_driver_domain_alloc_paging(dev, flags, ptr::null(), driver) };

        let domain = alloc(DIRTY_TRACKING);
        assert_eq!(f.errno(domain), 0);
        assert_eq!(
            f.told,
            Told::Paging {
                stage: SECOND,
                flags: DIRTY_TRACKING,
                gfp: bindings::GFP_KERNEL,
                data: None,
            }
        );
        assert_eq!(f.domain.user_flags, 0);
        let domain = alloc(16);
        assert_eq!(f.errno(domain), EOPNOTSUPP);
        Ok(())
    }

    #[test]
    fn what_the_driver_answers() -> Result {
        let mut f = Fixture::new()?;

        f.answer = Error::from_errno(ENOSPC).to_ptr();
        // The fixture takes this answer for its domain.
        assert_eq!(f.paging(0, None), 0);
        assert!(f.told_paging(FIRST, 0, None));
        f.answer = ptr::null_mut();
        assert_eq!(f.paging(0, None), ENOMEM);
        Ok(())
    }

    #[test]
    fn nested_requests() -> Result {
        let mut f = Fixture::new()?;
        let page = user_page()?;
        let data = Some(user_data(NESTED_DATA, page, LEN));
        let parent = &raw mut f.parent;

        for flags in [0, PASID] {
            assert_eq!(f.nested(flags, data), 0);
            assert_eq!(
                f.told,
                Told::Nested {
                    parent,
                    flags,
                    data: Some([0; LEN]),
                }
            );
        }
        assert_eq!(f.domain.user_flags, 0);

        for flags in [NEST_PARENT, DIRTY_TRACKING, 4, 16, PASID | NEST_PARENT] {
            assert_eq!(f.nested(flags, data), EOPNOTSUPP);
        }
        f.abilities.nested.flags = 0;
        assert_eq!(f.nested(PASID, data), EOPNOTSUPP);
        assert_eq!(f.nested(0, None), EOPNOTSUPP);

        // A parent that is none.
        for flags in [0, DIRTY_TRACKING, PASID] {
            f.parent.user_flags = flags;
            assert_eq!(f.nested(0, data), EINVAL);
        }
        f.parent.user_flags = NEST_PARENT;
        f.parent.owner = ptr::null();
        assert_eq!(f.nested(0, data), EINVAL);

        // What cannot be done comes first.
        f.abilities.nested.possible = false;
        assert_eq!(f.nested(0, data), EOPNOTSUPP);
        f.abilities.nested.possible = true;
        f.driver.alloc_nested = None;
        assert_eq!(f.nested(0, data), EOPNOTSUPP);
        assert_eq!(f.told, Told::Nothing);
        Ok(())
    }

    #[test]
    fn user_data_of_every_length() -> Result {
        let mut f = Fixture::new()?;
        let page = user_page()?;
        let mut bytes = [0; 200];

        bytes[..MIN_LEN].copy_from_slice(&[1, 2, 3, 4]);
        write_user(page, &bytes)?;
        for (len, errno) in [
            (0, EINVAL),
            (MIN_LEN - 1, EINVAL),
            (MIN_LEN, 0),
            (LEN - 1, 0),
            (LEN, 0),
            (LEN + 1, 0),
            (64, 0),
            (65, 0),
            (200, 0),
            (4096, 0),
            (4097, EINVAL),
            (usize::MAX, EINVAL),
        ] {
            assert_eq!(f.paging(0, Some(user_data(PAGING_DATA, page, len))), errno);
            if errno == 0 {
                assert!(f.told_paging(FIRST, 0, Some([1, 2, 3, 4, 0, 0, 0, 0])));
            } else {
                assert_eq!(f.told, Told::Nothing);
            }
            assert_eq!(f.nested(0, Some(user_data(NESTED_DATA, page, len))), errno);
        }

        // One bit after what is known.
        for at in [LEN, LEN + 1, 71, 72, 199] {
            bytes[at] = 0x80;
            write_user(page, &bytes)?;
            assert_eq!(f.paging(0, Some(user_data(PAGING_DATA, page, at))), 0);
            assert_eq!(
                f.paging(0, Some(user_data(PAGING_DATA, page, at + 1))),
                EINVAL
            );
            assert_eq!(
                f.nested(0, Some(user_data(NESTED_DATA, page, at + 1))),
                EINVAL
            );
            assert_eq!(f.told, Told::Nothing);
            bytes[at] = 0;
        }
        Ok(())
    }

    #[test]
    fn user_data_of_another_type() -> Result {
        let mut f = Fixture::new()?;
        let page = user_page()?;

        for len in [0, MIN_LEN - 1, LEN] {
            for kind in [0, NESTED_DATA, u32::MAX] {
                assert_eq!(f.paging(0, Some(user_data(kind, page, len))), EOPNOTSUPP);
            }
            for kind in [0, PAGING_DATA, u32::MAX] {
                assert_eq!(f.nested(0, Some(user_data(kind, page, len))), EOPNOTSUPP);
            }
        }
        f.driver.paging_data = ptr::null();
        f.driver.nested_data = ptr::null();
        assert_eq!(
            f.paging(0, Some(user_data(PAGING_DATA, page, LEN))),
            EOPNOTSUPP
        );
        assert_eq!(
            f.nested(0, Some(user_data(NESTED_DATA, page, LEN))),
            EOPNOTSUPP
        );
        assert_eq!(f.told, Told::Nothing);
        Ok(())
    }

    #[test]
    fn reserved_bits() -> Result {
        let mut f = Fixture::new()?;
        let page = user_page()?;

        for bit in 0..LEN * 8 {
            let mut bytes = [0; LEN];
            bytes[bit / 8] = 1 << (bit % 8);
            write_user(page, &bytes)?;

            let known = bit < 36;
            let errno = if known { 0 } else { EOPNOTSUPP };
            assert_eq!(f.paging(0, Some(user_data(PAGING_DATA, page, LEN))), errno);
            assert_eq!(f.told_paging(FIRST, 0, Some(bytes)), known);
            assert_eq!(f.nested(0, Some(user_data(NESTED_DATA, page, LEN))), errno);
        }
        Ok(())
    }

    /// VT-d's description of what userspace says about a first-stage table.
    #[test]
    #[cfg(CONFIG_INTEL_IOMMU)]
    fn vtd_first_stage() -> Result {
        const VTD_S1: u32 = 1;
        const LEN: usize = 24;

        let mut f = Fixture::new()?;
        let page = user_page()?;

        f.driver.nested_data = &raw const bindings::intel_iommu_vtd_s1;
        write_user(page, &[0; 2 * LEN])?;
        for (len, errno) in [(LEN - 1, EINVAL), (LEN, 0), (2 * LEN, 0)] {
            assert_eq!(f.nested(0, Some(user_data(VTD_S1, page, len))), errno);
        }
        assert_eq!(f.nested(0, Some(user_data(2, page, LEN))), EOPNOTSUPP);

        // Three flags, the table's address, the width of addresses.
        for bit in 0..LEN * 8 {
            let mut bytes = [0; LEN];
            bytes[bit / 8] = 1 << (bit % 8);
            write_user(page, &bytes)?;

            let known = bit < 3 || (64..160).contains(&bit);
            let errno = if known { 0 } else { EOPNOTSUPP };
            assert_eq!(f.nested(0, Some(user_data(VTD_S1, page, LEN))), errno);
        }
        Ok(())
    }

    #[test]
    fn bad_address() -> Result {
        let mut f = Fixture::new()?;
        let page = user_page()?;
        let kernel = KNOWN.as_ptr().addr();
        let end = page + PAGE_SIZE;

        write_user(end - 16, &[0; 16])?;
        for (addr, len) in [
            (0, LEN),
            (kernel, LEN),
            (end, LEN),
            (end - LEN + 1, LEN),
            // What is known can be read, what follows cannot.
            (end - LEN, LEN + 1),
            (end - 16, 100),
        ] {
            assert_eq!(f.paging(0, Some(user_data(PAGING_DATA, addr, len))), EFAULT);
            assert_eq!(f.nested(0, Some(user_data(NESTED_DATA, addr, len))), EFAULT);
            assert_eq!(f.told, Told::Nothing);
        }
        assert_eq!(f.paging(0, Some(user_data(PAGING_DATA, end - LEN, LEN))), 0);
        Ok(())
    }
}
