// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of DMA ownership, on a group of two devices served by a mock IOMMU.
//!
//! They show what cannot be brought about from outside: a group that is not set up,
//! counts at their limit, a blocking domain that cannot be attached.

use crate::dma_owner::*;
use core::{
    mem,
    ptr, //
};
use kernel::{
    bindings,
    container_of,
    device::{
        Bound,
        Device, //
    },
    error::{
        from_err_ptr,
        to_result, //
    },
    iommu::dma_owner::Ownership,
    prelude::*, //
};

const NONE: u32 = bindings::iommu_dma_owner_DMA_OWNER_NONE;
const DMA_API: u32 = bindings::iommu_dma_owner_DMA_OWNER_DMA_API;
const PRIVATE: u32 = bindings::iommu_dma_owner_DMA_OWNER_PRIVATE_DOMAIN;
const USER: u32 = bindings::iommu_dma_owner_DMA_OWNER_PRIVATE_DOMAIN_USER;

const EBUSY: c_int = -(bindings::EBUSY as c_int);
const EINVAL: c_int = -(bindings::EINVAL as c_int);
const EIO: c_int = -(bindings::EIO as c_int);
const ENODEV: c_int = -(bindings::ENODEV as c_int);
const EOVERFLOW: c_int = -(bindings::EOVERFLOW as c_int);
const EPERM: c_int = -(bindings::EPERM as c_int);
const EPROBE_DEFER: c_int = -(bindings::EPROBE_DEFER as c_int);

unsafe extern "C" fn attach(
    _domain: *mut bindings::iommu_domain,
    _dev: *mut bindings::device,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    0
}

unsafe extern "C" fn refuse(
    _domain: *mut bindings::iommu_domain,
    _dev: *mut bindings::device,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    EIO
}

/// A device of no bus that has to do with IOMMUs.
struct TestDevice(ptr::NonNull<bindings::faux_device>);

impl TestDevice {
    fn new(name: &CStr) -> Result<Self> {
        // SAFETY: The name is copied; neither parent nor operations are needed.
        let device = unsafe {
            bindings::faux_device_create(name.as_char_ptr(), ptr::null_mut(), ptr::null())
        };

        ptr::NonNull::new(device).map(Self).ok_or(ENOMEM)
    }

    fn raw(&self) -> *mut bindings::device {
        // SAFETY: The device is valid.
        unsafe { &raw mut (*self.0.as_ptr()).dev }
    }
}

impl Drop for TestDevice {
    fn drop(&mut self) {
        // SAFETY: The device is valid, and this is its end.
        unsafe { bindings::faux_device_destroy(self.0.as_ptr()) };
    }
}

/// What an IOMMU driver would provide.
struct Iommu {
    domain_ops: bindings::iommu_domain_ops,
    blocked_ops: bindings::iommu_domain_ops,
    default: bindings::iommu_domain,
    blocked: bindings::iommu_domain,
    own: bindings::iommu_domain,
    ops: bindings::iommu_ops,
    iommu: bindings::iommu_device,
    params: [bindings::dev_iommu; 2],
}

/// Two devices and their group; C sees no more of an IOMMU than [`Iommu`].
struct Fixture {
    iommu: KBox<Iommu>,
    devices: [TestDevice; 2],
    group: *mut bindings::iommu_group,
}

impl Fixture {
    /// A group as a driver that binds finds it.
    fn new() -> Result<Self> {
        let fixture = Self::without_default_domain()?;
        let default = ptr::from_ref(&fixture.iommu.default).cast_mut();

        // SAFETY: The group is valid, and nobody else knows it.
        unsafe {
            (*fixture.group).default_domain = default;
            (*fixture.group).domain = default;
        }
        Ok(fixture)
    }

    fn without_default_domain() -> Result<Self> {
        let fixture = Self::without_iommu()?;

        for (device, param) in fixture.devices.iter().zip(&fixture.iommu.params) {
            let dev = device.raw();

            // SAFETY: The device is valid, and no bus looks at its `iommu`.
            unsafe { (*dev).iommu = ptr::from_ref(param).cast_mut() };
        }
        Ok(fixture)
    }

    fn without_iommu() -> Result<Self> {
        let devices = [
            TestDevice::new(c"dma-owner-kunit-a")?,
            TestDevice::new(c"dma-owner-kunit-b")?,
        ];

        // SAFETY: All of these are C structures for which zeroes are valid.
        let mut iommu: KBox<Iommu> = KBox::new(unsafe { mem::zeroed() }, GFP_KERNEL | __GFP_ZERO)?;
        iommu.domain_ops.attach_dev = Some(attach);
        iommu.blocked_ops.attach_dev = Some(attach);
        iommu.default.ops = &raw const iommu.domain_ops;
        iommu.own.ops = &raw const iommu.domain_ops;
        iommu.blocked.ops = &raw const iommu.blocked_ops;
        iommu.ops.blocked_domain = &raw mut iommu.blocked;
        iommu.iommu.ops = &raw const iommu.ops;
        let iommu_dev = &raw mut iommu.iommu;
        for param in &mut iommu.params {
            param.iommu_dev = iommu_dev;
        }

        // SAFETY: No requirements.
        let group = from_err_ptr(unsafe { bindings::iommu_group_alloc() })?;
        let fixture = Self {
            iommu,
            devices,
            group,
        };
        for device in [0, 1] {
            // SAFETY: Group and device are valid.
            to_result(unsafe { bindings::iommu_group_add_device(group, fixture.dev(device)) })?;
        }
        Ok(fixture)
    }

    fn dev(&self, device: usize) -> *mut bindings::device {
        self.devices[device].raw()
    }

    fn cookie(&self, number: usize) -> *mut c_void {
        ptr::from_ref(&self.iommu.params[number]).cast_mut().cast()
    }

    fn claim(&self, device: usize, owner: u32) -> c_int {
        // SAFETY: The device is valid and stays in its group.
        unsafe { iommu_device_set_dma_owner(self.dev(device), owner, self.cookie(0)) }
    }

    fn release(&self, device: usize, owner: u32) {
        // SAFETY: As in `claim`.
        unsafe { iommu_device_release_dma_owner(self.dev(device), owner) }
    }

    fn bind(&self, device: usize) -> c_int {
        // SAFETY: As in `claim`.
        unsafe { iommu_device_use_default_domain(self.dev(device)) }
    }

    fn claim_group(&self) -> c_int {
        // SAFETY: The group is valid.
        unsafe { iommu_group_claim_dma_owner(self.group, self.cookie(0)) }
    }

    /// Owner, count, and each device's part of it.
    fn state(&self) -> (u32, u32, [u32; 2]) {
        let mut claims = [0; 2];

        // SAFETY: The group is valid, its list holds `struct group_device`, and nobody
        // else knows it.
        unsafe {
            let head = &raw mut (*self.group).devices;
            let mut link = (*head).next;
            while link != head {
                let gdev = container_of!(link, bindings::group_device, list);
                let index = usize::from((*gdev).dev == self.dev(1));

                claims[index] = (*gdev).dma_claims;
                link = (*link).next;
            }
            let state = &(*self.group).dma_owner;
            (state.owner, state.count, claims)
        }
    }

    /// Presets the counts of the first device and of the group.
    fn preset(&self, owner: u32, count: u32) {
        let cookie = if owner == DMA_API {
            ptr::null_mut()
        } else {
            self.cookie(0)
        };

        // SAFETY: As in `state`; the list is not empty.
        unsafe {
            let first = (*self.group).devices.next;

            (*container_of!(first, bindings::group_device, list)).dma_claims = count;
            (*self.group).dma_owner = bindings::iommu_dma_ownership {
                cookie,
                count,
                owner,
                whole: false,
            };
        }
    }

    fn attached(&self) -> *mut bindings::iommu_domain {
        // SAFETY: The group is valid.
        unsafe { (*self.group).domain }
    }

    fn attach(&self, domain: &bindings::iommu_domain) {
        // SAFETY: The group is valid.
        unsafe { (*self.group).domain = ptr::from_ref(domain).cast_mut() };
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        for device in [0, 1] {
            // SAFETY: The device is valid; without `iommu` no IOMMU driver is asked
            // when it leaves its group. That is idle, as the core would find it.
            unsafe {
                (*self.dev(device)).iommu = ptr::null_mut();
                (*self.group).domain = (*self.group).default_domain;
                bindings::iommu_group_remove_device(self.dev(device));
            }
        }
        // SAFETY: This is the reference of `iommu_group_alloc()`. The domains are not the
        // group's to free.
        unsafe {
            (*self.group).domain = ptr::null_mut();
            (*self.group).default_domain = ptr::null_mut();
            (*self.group).blocking_domain = ptr::null_mut();
            bindings::iommu_group_put(self.group);
        }
    }
}

/// Runs `f` and says how often the kernel warned.
fn warnings(f: impl FnOnce()) -> c_int {
    // SAFETY: A test is running; the suppression ends before the test does.
    unsafe {
        let test = bindings::kunit_get_current_test();
        let suppressed = bindings::kunit_start_suppress_warning(test);

        f();
        let count = bindings::kunit_suppressed_warning_count(suppressed);
        bindings::kunit_end_suppress_warning(test, suppressed);
        count
    }
}

#[kunit_tests(iommu_ext_dma_owner)]
mod tests {
    use super::*;

    #[test]
    fn no_group() -> Result {
        let device = TestDevice::new(c"dma-owner-kunit")?;
        let dev = device.raw();
        let cookie = dev.cast();

        // SAFETY: The device is valid.
        unsafe {
            assert_eq!(iommu_device_use_default_domain(dev), 0);
            assert_eq!(iommu_device_set_dma_owner(dev, DMA_API, cookie), 0);
            assert_eq!(iommu_device_set_dma_owner(dev, PRIVATE, cookie), ENODEV);
            assert_eq!(iommu_device_set_dma_owner(dev, USER, cookie), ENODEV);
            assert_eq!(
                iommu_device_set_dma_owner(dev, USER, ptr::null_mut()),
                EINVAL
            );
            for owner in [DMA_API, PRIVATE, USER] {
                iommu_device_release_dma_owner(dev, owner);
            }
            iommu_device_unuse_default_domain(dev);
        }
        Ok(())
    }

    #[test]
    fn group_without_iommu() -> Result {
        let f = Fixture::without_iommu()?;

        assert_eq!(f.bind(0), 0);
        assert_eq!(f.claim(0, DMA_API), 0);
        assert_eq!(f.claim(0, PRIVATE), ENODEV);
        assert_eq!(f.claim(0, USER), ENODEV);
        assert_eq!(f.claim_group(), ENODEV);
        f.release(0, DMA_API);
        f.release(0, USER);
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        Ok(())
    }

    #[test]
    fn no_default_domain() -> Result {
        let f = Fixture::without_default_domain()?;

        assert_eq!(f.bind(0), EPROBE_DEFER);
        for owner in [DMA_API, PRIVATE, USER] {
            assert_eq!(f.claim(0, owner), EBUSY);
        }
        assert_eq!(f.claim_group(), EBUSY);
        assert_eq!(f.claim(0, NONE), EINVAL);
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        Ok(())
    }

    /// The core has told the device its group, but not yet the group its device.
    #[test]
    fn device_joins() -> Result {
        let f = Fixture::new()?;
        let device = TestDevice::new(c"dma-owner-kunit-c")?;
        let dev = device.raw();
        let cookie = dev.cast();

        // SAFETY: The device is valid, and nobody else looks at its group.
        unsafe {
            (*dev).iommu_group = f.group;
            (*dev).iommu = (*f.dev(0)).iommu;
            assert_eq!(iommu_device_use_default_domain(dev), EPROBE_DEFER);
            assert_eq!(iommu_device_set_dma_owner(dev, DMA_API, cookie), EBUSY);
            assert_eq!(iommu_device_set_dma_owner(dev, USER, cookie), EBUSY);
            (*dev).iommu_group = ptr::null_mut();
            (*dev).iommu = ptr::null_mut();
        }
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        Ok(())
    }

    #[test]
    fn overflow() -> Result {
        let f = Fixture::new()?;

        for owner in [DMA_API, PRIVATE, USER] {
            f.preset(owner, u32::MAX);
            for device in [0, 1] {
                assert_eq!(f.claim(device, owner), EOVERFLOW);
                assert_eq!(f.state(), (owner, u32::MAX, [u32::MAX, 0]));
            }

            f.preset(owner, u32::MAX - 1);
            assert_eq!(f.claim(1, owner), 0);
            assert_eq!(f.state(), (owner, u32::MAX, [u32::MAX - 1, 1]));
            f.release(1, owner);
            assert_eq!(f.state(), (owner, u32::MAX - 1, [u32::MAX - 1, 0]));
        }
        f.preset(NONE, 0);
        Ok(())
    }

    #[test]
    fn blocking_domain_refused() -> Result {
        let mut f = Fixture::new()?;

        f.iommu.blocked_ops.attach_dev = Some(refuse);
        assert_eq!(f.claim(0, USER), EIO);
        assert_eq!(f.claim_group(), EIO);
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        assert!(ptr::eq(f.attached(), &f.iommu.default));

        // The others do not need it.
        assert_eq!(f.claim(0, PRIVATE), 0);
        f.release(0, PRIVATE);
        Ok(())
    }

    #[test]
    fn device_in_reset() -> Result {
        let f = Fixture::new()?;

        // SAFETY: As in `Fixture::preset`.
        let gdev = unsafe { container_of!((*f.group).devices.next, bindings::group_device, list) };
        // SAFETY: `gdev` is valid, and nobody else knows the group.
        unsafe {
            (*gdev).blocked = true;
            (*f.group).recovery_cnt = 1;
        }
        for owner in [DMA_API, PRIVATE, USER] {
            assert_eq!(f.claim(0, owner), EBUSY);
        }
        // Its sibling can be claimed, but the group not be blocked.
        assert_eq!(f.claim(1, USER), EBUSY);
        assert_eq!(f.claim_group(), EBUSY);
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        assert_eq!(f.claim(1, PRIVATE), 0);
        f.release(1, PRIVATE);
        Ok(())
    }

    #[test]
    fn user_is_blocked_until_the_last_release() -> Result {
        let f = Fixture::new()?;

        assert_eq!(f.claim(0, USER), 0);
        assert!(ptr::eq(f.attached(), &f.iommu.blocked));
        f.attach(&f.iommu.own);
        assert_eq!(f.claim(1, USER), 0);
        assert!(ptr::eq(f.attached(), &f.iommu.own));
        f.release(0, USER);
        assert!(ptr::eq(f.attached(), &f.iommu.own));
        f.release(1, USER);
        assert!(ptr::eq(f.attached(), &f.iommu.default));
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        Ok(())
    }

    #[test]
    fn detaching_falls_back() -> Result {
        let f = Fixture::new()?;
        // SAFETY: The group is valid; nobody else knows it.
        let fallback = || unsafe { iommu_dma_owner_core_domain(f.group) };

        assert!(ptr::eq(fallback(), &f.iommu.default));
        assert_eq!(f.claim(0, DMA_API), 0);
        assert!(ptr::eq(fallback(), &f.iommu.default));
        f.release(0, DMA_API);
        assert_eq!(f.claim(0, PRIVATE), 0);
        assert!(ptr::eq(fallback(), &f.iommu.default));
        f.release(0, PRIVATE);
        assert_eq!(f.claim(0, USER), 0);
        assert!(ptr::eq(fallback(), &f.iommu.blocked));
        f.release(0, USER);
        Ok(())
    }

    #[test]
    fn other_domain() -> Result {
        let f = Fixture::new()?;

        f.attach(&f.iommu.own);
        assert_eq!(f.claim(0, PRIVATE), EBUSY);
        assert_eq!(f.claim(0, USER), EBUSY);
        assert_eq!(f.claim_group(), EBUSY);
        assert_eq!(f.claim(0, DMA_API), 0);
        assert_eq!(f.claim(1, DMA_API), EBUSY);
        assert_eq!(f.claim(1, USER), EBUSY);
        assert_eq!(f.state(), (DMA_API, 1, [1, 0]));
        f.release(0, DMA_API);
        Ok(())
    }

    #[test]
    fn whole_group() -> Result {
        let f = Fixture::new()?;

        // SAFETY: The group is valid.
        let (claimed, release) = unsafe {
            (
                || iommu_group_dma_owner_claimed(f.group),
                || iommu_group_release_dma_owner(f.group),
            )
        };

        // SAFETY: The group is valid.
        let unnamed = unsafe { iommu_group_claim_dma_owner(f.group, ptr::null_mut()) };
        assert_eq!(unnamed, EINVAL);
        assert!(!claimed());
        assert_eq!(f.claim_group(), 0);
        assert!(claimed());
        assert!(ptr::eq(f.attached(), &f.iommu.blocked));

        // Shared with nobody, not even with the same cookie.
        assert_eq!(f.claim_group(), EPERM);
        assert_eq!(f.claim(0, USER), EBUSY);
        assert_eq!(f.bind(0), EBUSY);
        assert_eq!(f.state(), (USER, 1, [0, 0]));
        release();
        assert!(!claimed());
        assert!(ptr::eq(f.attached(), &f.iommu.default));

        assert_eq!(f.claim(0, DMA_API), 0);
        assert!(claimed());
        assert_eq!(f.claim_group(), EPERM);
        assert_eq!(warnings(release), 1);
        f.release(0, DMA_API);
        Ok(())
    }

    #[test]
    fn removed_while_claimed() -> Result {
        let f = Fixture::new()?;

        assert_eq!(f.claim(0, PRIVATE), 0);
        assert_eq!(f.claim(0, PRIVATE), 0);
        assert_eq!(f.claim(1, PRIVATE), 0);
        f.attach(&f.iommu.own);

        // SAFETY: As in `Fixture::drop`.
        let count = warnings(|| unsafe {
            (*f.dev(0)).iommu = ptr::null_mut();
            bindings::iommu_group_remove_device(f.dev(0));
        });
        assert_eq!(count, 1);
        assert_eq!(f.state(), (PRIVATE, 1, [0, 1]));
        assert_eq!(warnings(|| f.release(0, PRIVATE)), 0);

        f.release(1, PRIVATE);
        assert_eq!(f.state(), (NONE, 0, [0, 0]));
        assert!(ptr::eq(f.attached(), &f.iommu.default));
        assert_eq!(f.claim(1, DMA_API), 0);
        f.release(1, DMA_API);
        Ok(())
    }

    #[test]
    fn guard() -> Result {
        let f = Fixture::new()?;
        // SAFETY: Both devices are bound to the faux bus's driver as long as they live.
        let [a, b] = [0, 1].map(|n| unsafe { Device::<Bound>::from_raw(f.dev(n)) });
        let (mine, other) = (1, 2);

        let first = Ownership::private_domain_user(a, &mine)?;
        assert!(ptr::eq(f.attached(), &f.iommu.blocked));
        {
            let _second = Ownership::private_domain_user(b, &mine)?;
            assert_eq!(f.state(), (USER, 2, [1, 1]));
        }
        assert_eq!(f.state(), (USER, 1, [1, 0]));
        assert!(Ownership::private_domain_user(b, &other).is_err());
        assert!(Ownership::private_domain(b, &mine).is_err());
        assert!(Ownership::dma_api(b).is_err());
        drop(first);
        assert_eq!(f.state(), (NONE, 0, [0, 0]));

        let _claim = Ownership::dma_api(b)?;
        assert_eq!(f.state(), (DMA_API, 1, [0, 1]));
        Ok(())
    }
}
