// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of DMA with PASID inside the kernel, on a group of two devices served by a
//! mock IOMMU.
//!
//! They show what cannot be brought about from outside: IOMMUs that can do less, counts at
//! their limit, devices that join or leave at the wrong moment, guards that outlive what
//! they were made for.

use crate::{
    dma_owner::*,
    dma_pasid::*,
    kunit::warnings,
    kunit_group::{
        self,
        TestDevice, //
    },
    kva,
};
use core::{
    mem,
    ops::Deref,
    ptr, //
};
use kernel::{
    bindings,
    container_of,
    device::{
        Bound,
        Device, //
    },
    error::to_result,
    iommu::dma_pasid::{
        Bypass,
        Iova,
        Kva,
        Pasid, //
    },
    prelude::*, //
};

const DMA_API: u32 = bindings::iommu_dma_owner_DMA_OWNER_DMA_API;

const BYPASS: u32 = bindings::iommu_dma_pasid_mode_IOMMU_DMA_PASID_BYPASS;
const IOVA: u32 = bindings::iommu_dma_pasid_mode_IOMMU_DMA_PASID_IOVA;
const KVA: u32 = bindings::iommu_dma_pasid_mode_IOMMU_DMA_PASID_KVA;
const MODES: [u32; 3] = [BYPASS, IOVA, KVA];

/// The first PASID that is given.
const FIRST: c_int = bindings::IOASID_DMA_KERNEL as c_int;

const EBUSY: c_int = -(bindings::EBUSY as c_int);
const EINVAL: c_int = -(bindings::EINVAL as c_int);
const EIO: c_int = -(bindings::EIO as c_int);
const ENODEV: c_int = -(bindings::ENODEV as c_int);
const ENOSPC: c_int = -(bindings::ENOSPC as c_int);
const EOPNOTSUPP: c_int = -(bindings::EOPNOTSUPP as c_int);
const EOVERFLOW: c_int = -(bindings::EOVERFLOW as c_int);
const EPERM: c_int = -(bindings::EPERM as c_int);

/// What the mock driver saw when it was called, and what it answers.
struct Driver {
    kva_ops: bindings::iommu_domain_ops,
    /// What making a KVA domain fails with.
    error: c_int,
    /// What a device that wanted to join was told when a KVA domain was made.
    joining: c_int,
    /// How many claims there were when a PASID was detached.
    claims: u32,
    /// How many KVA domains there are.
    domains: usize,
}

impl Driver {
    /// # Safety
    ///
    /// `dev` must be a device of a [`Fixture`].
    unsafe fn of(dev: *mut bindings::device) -> *mut Self {
        // SAFETY: By the safety requirements.
        unsafe { (*(*dev).iommu).priv_.cast() }
    }
}

/// # Safety
///
/// As for an IOMMU driver's operation.
unsafe extern "C" fn alloc(
    dev: *mut bindings::device,
    _flags: u32,
    _user_data: *const bindings::iommu_user_data,
) -> *mut bindings::iommu_domain {
    // SAFETY: The device is a fixture's.
    let driver = unsafe { &mut *Driver::of(dev) };
    // SAFETY: The device is in its group; without group->mutex it would wait for it.
    driver.joining = unsafe {
        let group = (*dev).iommu_group;
        Group::locked(group, |_| iommu_dma_pasid_join(group, dev))
    };

    if driver.error != 0 {
        return Error::from_errno(driver.error).to_ptr();
    }
    // SAFETY: Zeroes are valid for this C structure.
    let domain: bindings::iommu_domain = unsafe { mem::zeroed() };
    match KBox::new(domain, GFP_KERNEL) {
        Ok(mut domain) => {
            domain.ops = &raw const driver.kva_ops;
            domain.pgsize_bitmap = bindings::PAGE_SIZE;
            driver.domains += 1;
            KBox::into_raw(domain)
        }
        Err(error) => Error::from(error).to_ptr(),
    }
}

/// # Safety
///
/// As for an IOMMU driver's operation.
unsafe extern "C" fn free(domain: *mut bindings::iommu_domain) {
    // SAFETY: It was made by `alloc`, and its driver, whose operations it has, is still there.
    unsafe {
        let driver = container_of!((*domain).ops.cast_mut(), Driver, kva_ops);

        (*driver).domains -= 1;
        drop(KBox::from_raw(domain));
    }
}

/// # Safety
///
/// As for an IOMMU driver's operation.
unsafe extern "C" fn map(
    _domain: *mut bindings::iommu_domain,
    _iova: c_ulong,
    _paddr: bindings::phys_addr_t,
    size: usize,
    count: usize,
    _prot: c_int,
    _gfp: bindings::gfp_t,
    mapped: *mut usize,
) -> c_int {
    // SAFETY: The core has room for it.
    unsafe { *mapped = size * count };
    0
}

/// # Safety
///
/// As for an IOMMU driver's operation.
unsafe extern "C" fn unmap(
    _domain: *mut bindings::iommu_domain,
    _iova: c_ulong,
    size: usize,
    count: usize,
    _gather: *mut bindings::iommu_iotlb_gather,
) -> usize {
    size * count
}

/// Attaches to the first device, and not to the second.
///
/// # Safety
///
/// As for an IOMMU driver's operation.
unsafe extern "C" fn attach_once(
    _domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    _pasid: bindings::ioasid_t,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    // SAFETY: The device is in a fixture's group.
    let first = unsafe { (*(*dev).iommu_group).devices.next };

    // SAFETY: As above; group->mutex is held.
    if unsafe { (*container_of!(first, bindings::group_device, list)).dev } == dev {
        0
    } else {
        EIO
    }
}

/// # Safety
///
/// As for an IOMMU driver's operation.
unsafe extern "C" fn detach(
    _domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    _pasid: bindings::ioasid_t,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    // SAFETY: The device is in a fixture's group; group->mutex is held.
    unsafe { (*Driver::of(dev)).claims = (*(*dev).iommu_group).dma_owner.count };
    0
}

/// Two devices that have PASIDs, and use the DMA API.
struct Fixture {
    /// Goes first: the group's devices know the driver.
    group: kunit_group::Fixture,
    driver: KBox<Driver>,
}

impl Deref for Fixture {
    type Target = kunit_group::Fixture;

    fn deref(&self) -> &Self::Target {
        &self.group
    }
}

impl Fixture {
    fn new() -> Result<Self> {
        let this = Self::unclaimed(8)?;

        for device in [0, 1] {
            to_result(this.bind(device))?;
        }
        Ok(this)
    }

    /// No driver is bound yet, and there are so many PASIDs.
    fn unclaimed(max_pasids: u32) -> Result<Self> {
        let mut group = kunit_group::Fixture::new()?;
        // SAFETY: Zeroes are valid for all that is in it.
        let mut driver: KBox<Driver> = KBox::new(unsafe { mem::zeroed() }, GFP_KERNEL)?;

        driver.kva_ops.set_dev_pasid = group.iommu.domain_ops.set_dev_pasid;
        driver.kva_ops.map_pages = Some(map);
        driver.kva_ops.unmap_pages = Some(unmap);
        driver.kva_ops.free = Some(free);
        group.iommu.ops.domain_alloc_paging_flags = Some(alloc);
        group.iommu.blocked_ops.set_dev_pasid = Some(detach);
        for param in &mut group.iommu.params {
            param.max_pasids = max_pasids;
            param.priv_ = ptr::from_mut(&mut *driver).cast();
        }
        let this = Self { group, driver };
        for device in [0, 1] {
            this.set_ready(device, true);
        }
        Ok(this)
    }

    /// Whether the IOMMU driver is done with a device.
    fn set_ready(&self, device: usize, ready: bool) {
        if let Some(member) = self.member(device) {
            // SAFETY: The member is valid, and nobody else knows it.
            unsafe { (*member).dma_pasid.ready = ready };
        }
    }

    fn bind(&self, device: usize) -> c_int {
        // SAFETY: The device is valid and stays in its group.
        unsafe { iommu_device_use_default_domain(self.dev(device)) }
    }

    /// The kernel may warn of what was forgotten.
    fn unbind(&self, device: usize) {
        // SAFETY: As above.
        warnings(|| unsafe { iommu_device_unuse_default_domain(self.dev(device)) });
    }

    fn rebind(&self, device: usize) -> c_int {
        self.unbind(device);
        self.bind(device)
    }

    fn is_bound(&self, device: usize) -> bool {
        // SAFETY: The member is valid, and nobody else knows it.
        let claims = |member: *mut bindings::group_device| unsafe { (*member).dma_claims };

        self.member(device).map_or(0, claims) != 0
    }

    fn bound(&self, device: usize) -> &Device<Bound> {
        // SAFETY: The device is bound to the faux bus's driver as long as it lives.
        unsafe { Device::<Bound>::from_raw(self.dev(device)) }
    }

    /// The PASID, which comes with a domain, or the error, which does not; else 0.
    fn enable(&self, device: usize, mode: u32) -> c_int {
        let mut domain = ptr::null_mut();
        // SAFETY: The device is valid and stays in its group.
        let ret = unsafe { iommu_dma_pasid_enable(self.dev(device), &raw mut domain, mode) };

        if (ret > 0) == domain.is_null() {
            return 0;
        }
        ret
    }

    fn disable(&self, device: usize, mode: u32) -> c_int {
        // SAFETY: As above.
        unsafe { iommu_dma_pasid_disable(self.dev(device), ptr::null_mut(), mode) }
    }

    /// The PASID of a mode, how often it is enabled, and each device's part of it.
    fn state(&self, mode: u32) -> (c_int, u32, [u32; 2]) {
        // SAFETY: The group is valid, and nobody else knows it.
        let slot = unsafe { &(*self.group.group).dma_pasids[mode as usize] };
        let parts = [0, 1].map(|device| match self.member(device) {
            Some(member) => {
                // SAFETY: As above.
                unsafe { (*member).dma_pasid.parts[mode as usize].count }
            }
            None => 0,
        });

        (slot.pasid as c_int, slot.count, parts)
    }

    fn is_free(&self) -> bool {
        MODES.iter().all(|&mode| self.state(mode) == (0, 0, [0, 0]))
            // SAFETY: The group is valid; an XArray without a head is empty.
            && unsafe { (*self.group.group).pasid_array.xa_head.is_null() }
            && self.driver.domains == 0
    }

    /// A device that has PASIDs joins the group.
    fn join(&self) -> c_int {
        // SAFETY: The group is valid, and so is the device, which an IOMMU serves.
        unsafe {
            let group = self.group.group;
            Group::locked(group, |_| iommu_dma_pasid_join(group, self.dev(1)))
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        for device in [0, 1] {
            while self.is_bound(device) {
                self.unbind(device);
            }
        }
    }
}

#[kunit_tests(iommu_ext_dma_pasid)]
mod tests {
    use super::*;

    #[test]
    fn no_group() -> Result {
        let device = TestDevice::new(c"iommu-kunit")?;
        let dev = device.raw();
        let mut domain = ptr::null_mut();
        let mut hold = bindings::iommu_dma_pasid_hold::default();

        for mode in MODES {
            // SAFETY: The device is valid, and there is room for the results.
            unsafe {
                assert_eq!(iommu_dma_pasid_enable(dev, &raw mut domain, mode), ENODEV);
                assert_eq!(iommu_dma_pasid_take(dev, &raw mut hold, mode), ENODEV);
                assert_eq!(iommu_dma_pasid_disable(dev, &raw mut domain, mode), EINVAL);
            }
        }
        Ok(())
    }

    #[test]
    fn group_without_iommu() -> Result {
        let group = kunit_group::Fixture::without_iommu()?;
        let mut domain = ptr::null_mut();

        for mode in MODES {
            // SAFETY: The device is valid, and there is room for the domain.
            let ret = unsafe { iommu_dma_pasid_enable(group.dev(0), &raw mut domain, mode) };
            assert_eq!(ret, ENODEV);
        }
        Ok(())
    }

    #[test]
    fn no_pasids() -> Result {
        let f = Fixture::unclaimed(0)?;

        for mode in MODES {
            assert_eq!(f.enable(0, mode), EOPNOTSUPP);
        }
        Ok(())
    }

    #[test]
    fn iommu_without_pasids() -> Result {
        let mut f = Fixture::new()?;

        f.group.iommu.blocked_ops.set_dev_pasid = None;
        for mode in MODES {
            assert_eq!(f.enable(0, mode), EOPNOTSUPP);
        }
        f.group.iommu.ops.blocked_domain = ptr::null_mut();
        for mode in MODES {
            assert_eq!(f.enable(0, mode), EOPNOTSUPP);
        }
        Ok(())
    }

    /// An IOMMU that knows identity for whole devices only, and one that does not know it.
    #[test]
    fn iommu_without_identity() -> Result {
        let mut f = Fixture::new()?;
        // SAFETY: Zeroes are valid for this C structure.
        let ops: bindings::iommu_domain_ops = unsafe { mem::zeroed() };

        f.group.iommu.identity.ops = &raw const ops;
        assert_eq!(f.enable(0, BYPASS), EOPNOTSUPP);
        f.group.iommu.ops.identity_domain = ptr::null_mut();
        assert_eq!(f.enable(0, BYPASS), EOPNOTSUPP);
        assert_eq!(f.enable(0, IOVA), FIRST);
        assert_eq!(f.disable(0, IOVA), 0);
        assert!(f.is_free());
        Ok(())
    }

    #[test]
    fn not_the_owner() -> Result {
        let f = Fixture::unclaimed(8)?;

        assert_eq!(f.enable(0, IOVA), EPERM);
        // Its sibling's claim is the sibling's.
        assert_eq!(f.bind(1), 0);
        assert_eq!(f.enable(0, IOVA), EPERM);
        assert_eq!(f.enable(1, IOVA), FIRST);
        assert_eq!(f.disable(1, IOVA), 0);
        assert!(f.is_free());
        Ok(())
    }

    #[test]
    fn no_pasid_left() -> Result {
        let f = Fixture::unclaimed(1)?;

        assert_eq!(f.bind(0), 0);
        for mode in [BYPASS, IOVA] {
            assert_eq!(f.enable(0, mode), ENOSPC);
            assert!(f.is_free());
        }
        drop(f);

        let f = Fixture::unclaimed(2)?;
        assert_eq!(f.bind(0), 0);
        assert_eq!(f.enable(0, IOVA), FIRST);
        assert_eq!(f.enable(0, BYPASS), ENOSPC);
        assert_eq!(f.state(BYPASS), (0, 0, [0, 0]));
        assert_eq!(f.disable(0, IOVA), 0);
        assert!(f.is_free());
        Ok(())
    }

    #[test]
    fn overflow() -> Result {
        let f = Fixture::new()?;
        let first = f.member(0).ok_or(ENOENT)?;
        let preset = |count| {
            // SAFETY: Group and member are valid, and nobody else knows them.
            unsafe {
                (*first).dma_pasid.parts[IOVA as usize].count = count;
                (*f.group.group).dma_pasids[IOVA as usize].count = count;
            }
        };

        assert_eq!(f.enable(0, IOVA), FIRST);
        preset(u32::MAX);
        for device in [0, 1] {
            assert_eq!(f.enable(device, IOVA), EOVERFLOW);
            assert_eq!(f.state(IOVA), (FIRST, u32::MAX, [u32::MAX, 0]));
        }
        preset(u32::MAX - 1);
        assert_eq!(f.enable(1, IOVA), FIRST);
        assert_eq!(f.state(IOVA), (FIRST, u32::MAX, [u32::MAX - 1, 1]));
        assert_eq!(f.disable(1, IOVA), 0);
        preset(1);
        assert_eq!(f.disable(0, IOVA), 0);
        assert!(f.is_free());
        Ok(())
    }

    #[test]
    fn attach_fails() -> Result {
        let mut f = Fixture::unclaimed(3)?;
        let works = f.group.iommu.domain_ops.set_dev_pasid;

        assert_eq!(f.bind(0), 0);
        assert_eq!(f.enable(0, IOVA), FIRST);
        f.group.iommu.domain_ops.set_dev_pasid = Some(attach_once);
        assert_eq!(f.enable(0, BYPASS), EIO);
        assert_eq!(f.state(BYPASS), (0, 0, [0, 0]));

        // The only other PASID was given back.
        f.group.iommu.domain_ops.set_dev_pasid = works;
        assert_eq!(f.enable(0, BYPASS), FIRST + 1);
        assert_eq!(f.disable(0, BYPASS), 0);
        assert_eq!(f.disable(0, IOVA), 0);
        assert!(f.is_free());
        Ok(())
    }

    /// Who uses PASIDs of the group beside the kernel, a device that joins is not attached to
    /// them, and so has none. What iommufd attaches to the group itself is no PASID.
    #[test]
    fn joins_without_pasids_beside_others() -> Result {
        let mut f = Fixture::new()?;

        for (pasid, left, answer) in [(0, 8, FIRST), (1, 0, EOPNOTSUPP), (1 << 19, 0, EOPNOTSUPP)] {
            // SAFETY: The group is valid, nobody else knows it, and nobody looks at the entry.
            unsafe {
                let pasids = &raw mut (*f.group.group).pasid_array;
                let entry = f.group.group.cast();

                bindings::xa_store(pasids, pasid, entry, bindings::GFP_KERNEL);
                assert_eq!(f.join(), 0);
                bindings::xa_erase(pasids, pasid);
            }
            assert_eq!(f.group.iommu.params[1].max_pasids, left);
            assert_eq!(f.enable(1, IOVA), answer);
            if answer > 0 {
                assert_eq!(f.disable(1, IOVA), 0);
            }
            f.group.iommu.params[1].max_pasids = 8;
        }
        assert!(f.is_free());
        Ok(())
    }

    /// A device that has PASIDs is attached as its driver finds it, so all have to be done with.
    #[test]
    fn waits_for_who_joins() -> Result {
        let mut f = Fixture::new()?;

        f.set_ready(1, false);
        assert_eq!(f.enable(0, IOVA), EBUSY);
        assert_eq!(f.enable(1, IOVA), EBUSY);
        assert!(f.is_free());
        f.group.iommu.params[1].max_pasids = 0;
        assert_eq!(f.enable(0, IOVA), FIRST);
        assert_eq!(f.disable(0, IOVA), 0);
        f.group.iommu.params[1].max_pasids = 8;
        // SAFETY: The device is valid and stays in its group.
        unsafe { iommu_dma_pasid_device_ready(f.dev(1)) };
        assert_eq!(f.enable(0, IOVA), FIRST);
        assert_eq!(f.disable(0, IOVA), 0);
        assert!(f.is_free());
        Ok(())
    }

    /// From the decision on the group is closed, so that what it rests on stays true.
    #[test]
    fn closed_while_enabling() -> Result {
        let mut f = Fixture::new()?;
        if !kva::SUPPORTED {
            return Ok(());
        }

        assert_eq!(f.join(), 0);
        f.driver.joining = 0;
        f.driver.error = EIO;
        assert_eq!(f.enable(0, KVA), EIO);
        assert_eq!(f.driver.joining, EBUSY);
        assert!(f.is_free());
        assert_eq!(f.join(), 0);

        f.driver.joining = 0;
        f.driver.error = 0;
        assert_eq!(f.enable(0, KVA), FIRST);
        assert_eq!(f.driver.joining, EBUSY);
        assert_eq!(f.join(), EBUSY);
        assert_eq!(f.disable(0, KVA), 0);
        assert_eq!(f.join(), 0);
        assert!(f.is_free());
        Ok(())
    }

    /// The last claim stays until nothing is attached any more.
    #[test]
    fn claim_goes_last() -> Result {
        let mut f = Fixture::new()?;

        f.unbind(1);
        assert_eq!(f.enable(0, BYPASS), FIRST);
        f.driver.claims = 0;
        f.unbind(0);
        assert_eq!(f.driver.claims, 1);
        assert!(f.is_free());
        assert_eq!(f.enable(0, BYPASS), EPERM);

        // Of two claims either may go first.
        assert_eq!(f.bind(0), 0);
        assert_eq!(f.bind(0), 0);
        assert_eq!(f.enable(0, IOVA), FIRST);
        // SAFETY: The device is valid and stays in its group.
        unsafe { iommu_device_release_dma_owner(f.dev(0), DMA_API) };
        assert_eq!(f.state(IOVA), (FIRST, 1, [1, 0]));
        f.unbind(0);
        assert!(f.is_free());
        Ok(())
    }

    #[test]
    fn leaving() -> Result {
        let f = Fixture::new()?;

        for mode in [BYPASS, IOVA] {
            assert_eq!(f.enable(0, mode), f.enable(1, mode));
        }
        // SAFETY: The device is in its group.
        warnings(|| unsafe { iommu_dma_pasid_remove_device(f.dev(0)) });
        assert_eq!(f.state(BYPASS).2, [0, 1]);
        assert_eq!(f.state(IOVA).2, [0, 1]);

        // It still is a member, and its driver has its claim.
        assert_eq!(f.enable(0, BYPASS), ENODEV);
        assert_eq!(f.enable(0, KVA), ENODEV);
        assert_eq!(f.disable(0, BYPASS), EINVAL);
        for mode in [BYPASS, IOVA] {
            assert_eq!(f.disable(1, mode), 0);
        }
        assert!(f.is_free());
        Ok(())
    }

    #[test]
    fn guards() -> Result {
        let f = Fixture::new()?;

        let first = Pasid::<Bypass>::enable(f.bound(0))?;
        {
            let second = Pasid::<Bypass>::enable(f.bound(1))?;
            assert_eq!(first.id(), second.id());
            assert_eq!(f.state(BYPASS), (FIRST, 2, [1, 1]));
        }
        let other = Pasid::<Iova>::enable(f.bound(0))?;
        assert_ne!(first.id(), other.id());
        assert_eq!(f.state(BYPASS), (FIRST, 1, [1, 0]));
        drop(first);
        assert_eq!(f.state(BYPASS), (0, 0, [0, 0]));
        drop(other);
        assert!(f.is_free());
        Ok(())
    }

    /// A guard of an earlier driver takes nothing away from the next.
    #[test]
    fn guard_outlives_driver() -> Result {
        let f = Fixture::new()?;

        let old = Pasid::<Iova>::enable(f.bound(0))?;
        assert_eq!(f.rebind(0), 0);
        assert!(f.is_free());
        let new = Pasid::<Iova>::enable(f.bound(0))?;
        drop(old);
        assert_eq!(f.state(IOVA), (FIRST, 1, [1, 0]));
        drop(new);

        // Nor from a sibling that has kept what is attached, beside which no driver binds.
        let old = Pasid::<Iova>::enable(f.bound(0))?;
        let kept = Pasid::<Iova>::enable(f.bound(1))?;
        assert_eq!(f.rebind(0), EBUSY);
        assert_eq!(f.state(IOVA), (FIRST, 1, [0, 1]));
        drop(old);
        assert_eq!(f.state(IOVA), (FIRST, 1, [0, 1]));
        drop(kept);
        assert!(f.is_free());
        Ok(())
    }

    #[test]
    fn guard_outlives_device() -> Result {
        let f = Fixture::new()?;
        let guard = Pasid::<Iova>::enable(f.bound(0))?;

        f.unbind(0);
        // SAFETY: The device is in its group; without `iommu` no IOMMU driver is asked.
        unsafe {
            iommu_dma_pasid_remove_device(f.dev(0));
            (*f.dev(0)).iommu = ptr::null_mut();
            bindings::iommu_group_remove_device(f.dev(0));
        }
        drop(guard);
        assert!(f.is_free());
        Ok(())
    }

    /// Nor does it map or unmap what is not its own any more.
    #[test]
    fn mapping_outlives_driver() -> Result {
        let f = Fixture::new()?;
        if !kva::SUPPORTED {
            return Ok(());
        }
        let buffer = || KVec::from_elem(0u8, bindings::PAGE_SIZE, GFP_KERNEL);

        let old = Pasid::<Kva>::enable(f.bound(0))?;
        assert!(old.map_write(buffer()?)?.into_buffer().is_some());
        let mut lost = buffer()?;
        let (raw, size, capacity) = (lost.as_mut_ptr(), lost.len(), lost.capacity());
        let mapping = old.map_write(lost)?;
        // The sibling keeps the domain, and what is mapped in it.
        let kept = Pasid::<Kva>::enable(f.bound(1))?;
        f.unbind(0);

        assert!(old.map_write(buffer()?).is_err());
        assert!(mapping.into_buffer().is_none());
        assert_eq!(f.state(KVA), (FIRST, 1, [0, 1]));
        drop(old);
        assert_eq!(f.state(KVA), (FIRST, 1, [0, 1]));
        assert!(kept.map_write(buffer()?)?.into_buffer().is_some());
        drop(kept);
        assert!(f.is_free());

        assert_eq!(f.bind(0), 0);
        let old = Pasid::<Kva>::enable(f.bound(0))?;
        assert_eq!(f.rebind(0), 0);
        // The device has the mode again, in a domain of the next driver.
        let next = Pasid::<Kva>::enable(f.bound(0))?;
        assert!(old.map_write(buffer()?).is_err());
        drop(old);
        assert_eq!(f.state(KVA), (FIRST, 1, [1, 0]));
        drop(next);
        assert!(f.is_free());

        // SAFETY: With the domain gone, nobody else knows the buffer; it was forgotten.
        drop(unsafe { KVec::from_raw_parts(raw, size, capacity) });
        Ok(())
    }
}
