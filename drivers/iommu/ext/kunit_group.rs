// SPDX-License-Identifier: GPL-2.0

//! For KUnit tests: a group of two devices, served by a mock IOMMU.

use core::{
    mem,
    ptr, //
};
use kernel::{
    bindings,
    container_of,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*, //
};

/// # Safety
///
/// As for an IOMMU driver's operation.
unsafe extern "C" fn attach(
    _domain: *mut bindings::iommu_domain,
    _dev: *mut bindings::device,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    0
}

/// # Safety
///
/// As for an IOMMU driver's operation.
unsafe extern "C" fn attach_pasid(
    _domain: *mut bindings::iommu_domain,
    _dev: *mut bindings::device,
    _pasid: bindings::ioasid_t,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    0
}

/// A device of no bus that has to do with IOMMUs.
pub(crate) struct TestDevice(ptr::NonNull<bindings::faux_device>);

impl TestDevice {
    pub(crate) fn new(name: &CStr) -> Result<Self> {
        // SAFETY: The name is copied; neither parent nor operations are needed.
        let device = unsafe {
            bindings::faux_device_create(name.as_char_ptr(), ptr::null_mut(), ptr::null())
        };

        ptr::NonNull::new(device).map(Self).ok_or(ENOMEM)
    }

    pub(crate) fn raw(&self) -> *mut bindings::device {
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
pub(crate) struct Iommu {
    pub(crate) domain_ops: bindings::iommu_domain_ops,
    pub(crate) blocked_ops: bindings::iommu_domain_ops,
    pub(crate) default: bindings::iommu_domain,
    pub(crate) blocked: bindings::iommu_domain,
    pub(crate) identity: bindings::iommu_domain,
    pub(crate) own: bindings::iommu_domain,
    pub(crate) ops: bindings::iommu_ops,
    pub(crate) iommu: bindings::iommu_device,
    pub(crate) params: [bindings::dev_iommu; 2],
}

/// Two devices without PASIDs and their group; C sees no more of an IOMMU than [`Iommu`].
pub(crate) struct Fixture {
    pub(crate) iommu: KBox<Iommu>,
    devices: [TestDevice; 2],
    pub(crate) group: *mut bindings::iommu_group,
}

impl Fixture {
    /// A group as a driver that binds finds it.
    pub(crate) fn new() -> Result<Self> {
        let fixture = Self::without_default_domain()?;
        let default = ptr::from_ref(&fixture.iommu.default).cast_mut();

        // SAFETY: The group is valid, and nobody else knows it.
        unsafe {
            (*fixture.group).default_domain = default;
            (*fixture.group).domain = default;
        }
        Ok(fixture)
    }

    pub(crate) fn without_default_domain() -> Result<Self> {
        let mut fixture = Self::without_iommu()?;

        for (device, param) in fixture.devices.iter().zip(&mut fixture.iommu.params) {
            let dev = device.raw();

            // SAFETY: The device is valid, and no bus looks at its `iommu`.
            unsafe { (*dev).iommu = param };
        }
        Ok(fixture)
    }

    pub(crate) fn without_iommu() -> Result<Self> {
        let devices = [
            TestDevice::new(c"iommu-kunit-a")?,
            TestDevice::new(c"iommu-kunit-b")?,
        ];

        // SAFETY: All of these are C structures for which zeroes are valid.
        let mut iommu: KBox<Iommu> = KBox::new(unsafe { mem::zeroed() }, GFP_KERNEL | __GFP_ZERO)?;
        iommu.domain_ops.attach_dev = Some(attach);
        iommu.domain_ops.set_dev_pasid = Some(attach_pasid);
        iommu.blocked_ops.attach_dev = Some(attach);
        iommu.blocked_ops.set_dev_pasid = Some(attach_pasid);
        iommu.default.ops = &raw const iommu.domain_ops;
        iommu.default.owner = &raw const iommu.ops;
        iommu.identity.ops = &raw const iommu.domain_ops;
        iommu.own.ops = &raw const iommu.domain_ops;
        iommu.blocked.ops = &raw const iommu.blocked_ops;
        iommu.ops.blocked_domain = &raw mut iommu.blocked;
        iommu.ops.identity_domain = &raw mut iommu.identity;
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

    pub(crate) fn dev(&self, device: usize) -> *mut bindings::device {
        self.devices[device].raw()
    }

    /// What the group knows of a device that is still in it.
    pub(crate) fn member(&self, device: usize) -> Option<*mut bindings::group_device> {
        // SAFETY: The group is valid, its list holds `struct group_device`, and nobody else
        // knows it.
        unsafe {
            let head = &raw mut (*self.group).devices;
            let mut link = (*head).next;

            while link != head {
                let member = container_of!(link, bindings::group_device, list);
                if (*member).dev == self.dev(device) {
                    return Some(member);
                }
                link = (*link).next;
            }
        }
        None
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
