/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ioctls of /dev/iommu_ext_test, for the module and for its kselftests.
 *
 * Each capability has an ioctl type of its own. A structure is in and out at
 * once; members marked "out" are written on success.
 */
#ifndef _IOMMU_EXT_TEST_H
#define _IOMMU_EXT_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define IOMMU_EXT_TEST_DEVICE		"/dev/iommu_ext_test"

#define IOMMU_EXT_TEST_IOASID		0xe0
#define IOMMU_EXT_TEST_PASID_TESTDEV	0xe1
#define IOMMU_EXT_TEST_DMA_OWNER	0xe2
#define IOMMU_EXT_TEST_DMA_PASID	0xe3
#define IOMMU_EXT_TEST_USER_DOMAIN	0xe4

/*
 * IOASID allocator. IDs that an open file holds are freed when it is closed.
 * An ioctl fails with what it refuses itself; what the tested call answered
 * stands in the structure.
 */

#define IOASID_TEST_NR_SETS	4
#define IOASID_TEST_ANY_SET	0xffffffffu	/* find: the NULL set */
#define IOASID_TEST_INVALID	0xffffffffu	/* INVALID_IOASID, as userspace sees it */

/* From where a call is made */
enum ioasid_test_context {
	IOASID_TEST_TASK,
	IOASID_TEST_IRQS_OFF,
	IOASID_TEST_HARDIRQ,
	IOASID_TEST_RCU_CALLBACK,
	IOASID_TEST_NR_CONTEXTS,
};

enum ioasid_test_getter {
	IOASID_TEST_NO_GETTER,		/* the data is read under RCU */
	IOASID_TEST_GETTER_TAKES,	/* a reference, dropped after the data is read */
	IOASID_TEST_GETTER_REFUSES,
	IOASID_TEST_NR_GETTERS,
};

/**
 * struct ioasid_test_alloc - ioasid_alloc() with a data object
 * @set: which set, below IOASID_TEST_NR_SETS
 * @min: first ID allowed
 * @max: last ID allowed
 * @token: kept in the data object, 0 for none (private pointer NULL)
 * @id: out: the ID, IOASID_TEST_INVALID for INVALID_IOASID
 */
struct ioasid_test_alloc {
	__u32 set;
	__u32 min;
	__u32 max;
	__u32 token;
	__u32 id;
};

/**
 * struct ioasid_test_free - ioasid_free(), then the data object
 * @id: an ID that this file holds; an unknown one only with @unknown
 * @context: enum ioasid_test_context
 * @unknown: call ioasid_free() although nobody holds @id (it will WARN)
 */
struct ioasid_test_free {
	__u32 id;
	__u32 context;
	__u32 unknown;
};

/**
 * struct ioasid_test_find - ioasid_find()
 * @set: which set, or IOASID_TEST_ANY_SET
 * @id: the ID
 * @getter: enum ioasid_test_getter
 * @context: enum ioasid_test_context
 * @error: out: the error that was returned, else 0
 * @token: out: that of the data object, 0 for NULL
 */
struct ioasid_test_find {
	__u32 set;
	__u32 id;
	__u32 getter;
	__u32 context;
	__s32 error;
	__u32 token;
};

/**
 * struct ioasid_test_set_data - ioasid_set_data() with a new data object
 * @id: an ID that this file holds, or one that nobody holds
 * @token: kept in the new object, 0 for NULL
 * @reader_ms: if set, a reader finds the old object first and stays in its RCU
 *             section for so long
 * @error: out: what was returned
 * @returned_early: out: 1 if the call returned while that reader was inside
 */
struct ioasid_test_set_data {
	__u32 id;
	__u32 token;
	__u32 reader_ms;
	__s32 error;
	__u32 returned_early;
};

/**
 * struct ioasid_test_fill - allocate until nothing is free
 * @set: which set
 * @min: first ID allowed
 * @max: last ID allowed
 * @count: out: how many IDs were given
 * @bad: out: how many of them were out of range or held already
 */
struct ioasid_test_fill {
	__u32 set;
	__u32 min;
	__u32 max;
	__u32 count;
	__u32 bad;
};

/**
 * struct ioasid_test_global - iommu_alloc_global_pasid() for a PCI device
 * @segment: PCI segment
 * @bus: its bus
 * @devfn: device and function, as PCI_DEVFN()
 * @max_pasids: out: the device's limit
 * @id: out: the PASID, IOASID_TEST_INVALID for none
 */
struct ioasid_test_global {
	__u32 segment;
	__u32 bus;
	__u32 devfn;
	__u32 max_pasids;
	__u32 id;
};

/**
 * struct ioasid_test_ref - ioasid_get(), or ioasid_put() of a reference of this file
 * @set: get: which set, or IOASID_TEST_ANY_SET
 * @id: the ID; a reference is only kept to one that this file holds
 * @context: enum ioasid_test_context
 * @error: out: get: what was returned
 * @freed: out: put: what was returned
 */
struct ioasid_test_ref {
	__u32 set;
	__u32 id;
	__u32 context;
	__s32 error;
	__u32 freed;
};

/**
 * struct ioasid_test_set - accounts of a set
 * @set: which set
 * @change: 1: set the quota; it is dropped when the file is closed
 * @quota: in or out
 * @count: out: IDs allocated
 * @peak: out: the highest @count
 */
struct ioasid_test_set {
	__u32 set;
	__u32 change;
	__u32 quota;
	__u32 count;
	__u32 peak;
};

#define IOASID_TEST_NR_CUSTOM		3	/* 0 and 1 have the same functions */
#define IOASID_TEST_CUSTOM_HONEST	0xfffffffeu

enum ioasid_test_custom_action {
	IOASID_TEST_CUSTOM_QUERY,
	IOASID_TEST_CUSTOM_REGISTER,
	IOASID_TEST_CUSTOM_UNREGISTER,
	IOASID_TEST_CUSTOM_ANSWER,
};

/**
 * struct ioasid_test_custom - custom allocators
 * @which: below IOASID_TEST_NR_CUSTOM
 * @action: enum ioasid_test_custom_action
 * @answer: what it answers next: an ID, or IOASID_TEST_CUSTOM_HONEST for the
 *          lowest one that is allowed and free
 * @busy_ms: unregister: if set, a thread frees @id first, and is in the
 *           allocator's free function for so long
 * @id: such an ID, to which this file has the only reference
 * @error: out: register: what was returned
 * @allocs: out: how often it was asked since it was registered
 * @frees: out: how many IDs it was given back
 * @last_freed: out: the latest of them
 * @returned_early: out: unregister: 1 if it returned while that thread was
 *                  inside
 */
struct ioasid_test_custom {
	__u32 which;
	__u32 action;
	__u32 answer;
	__u32 busy_ms;
	__u32 id;
	__s32 error;
	__u32 allocs;
	__u32 frees;
	__u32 last_freed;
	__u32 returned_early;
};

/**
 * struct ioasid_test_stress - threads that allocate, find, get, replace and free
 * @threads: how many, at most IOASID_TEST_MAX_THREADS
 * @seconds: for how long
 * @min: first ID allowed
 * @max: last ID allowed; at most IOASID_TEST_MAX_RANGE IDs
 * @allocs: out: IDs allocated
 * @finds: out: calls of ioasid_find() that gave an object
 * @gets: out: calls of ioasid_get() that gave a reference
 * @replaced: out: calls of ioasid_set_data()
 * @full: out: allocations that failed
 * @double_holders: out: IDs given to two holders at once
 * @stale: out: objects seen after they were freed
 * @mixed: out: objects of another ID or set than was asked for
 * @unexpected: out: any other answer that must not be
 */
struct ioasid_test_stress {
	__u32 threads;
	__u32 seconds;
	__u32 min;
	__u32 max;
	__u64 allocs;
	__u64 finds;
	__u64 gets;
	__u64 replaced;
	__u64 full;
	__u64 double_holders;
	__u64 stale;
	__u64 mixed;
	__u64 unexpected;
};

#define IOASID_TEST_MAX_THREADS	64
#define IOASID_TEST_MAX_RANGE	65536

#define IOASID_TEST_ALLOC	_IOWR(IOMMU_EXT_TEST_IOASID, 0, struct ioasid_test_alloc)
#define IOASID_TEST_FREE	_IOW(IOMMU_EXT_TEST_IOASID, 1, struct ioasid_test_free)
#define IOASID_TEST_FIND	_IOWR(IOMMU_EXT_TEST_IOASID, 2, struct ioasid_test_find)
#define IOASID_TEST_SET_DATA	_IOWR(IOMMU_EXT_TEST_IOASID, 3, struct ioasid_test_set_data)
#define IOASID_TEST_FILL	_IOWR(IOMMU_EXT_TEST_IOASID, 4, struct ioasid_test_fill)
#define IOASID_TEST_DRAIN	_IO(IOMMU_EXT_TEST_IOASID, 5)	/* free all this file holds */
#define IOASID_TEST_GLOBAL	_IOWR(IOMMU_EXT_TEST_IOASID, 6, struct ioasid_test_global)
#define IOASID_TEST_STRESS	_IOWR(IOMMU_EXT_TEST_IOASID, 7, struct ioasid_test_stress)
#define IOASID_TEST_GET		_IOWR(IOMMU_EXT_TEST_IOASID, 8, struct ioasid_test_ref)
#define IOASID_TEST_PUT		_IOWR(IOMMU_EXT_TEST_IOASID, 9, struct ioasid_test_ref)
#define IOASID_TEST_SET		_IOWR(IOMMU_EXT_TEST_IOASID, 10, struct ioasid_test_set)
#define IOASID_TEST_CUSTOM	_IOWR(IOMMU_EXT_TEST_IOASID, 11, struct ioasid_test_custom)

/*
 * pasid-testdev, see Documentation/driver-api/iommu-ext/pasid-testdev.rst and
 * pasid_testdev_regs.h. A file opens one device, a device has one file. All
 * that the file made is taken down, and the device reset, when the file is
 * closed or the device goes; after that all ioctls fail with ENODEV. They fail
 * with the error of the kernel call they make, or for bad arguments with
 * EINVAL, ENOENT (no such buffer, domain, mapping, or attachment), ENOSPC (too
 * many of them), EBUSY (it is in use).
 */

#define PTD_TEST_NR_BUFS		64
#define PTD_TEST_NR_DOMAINS		32
#define PTD_TEST_NR_MAPS		128
#define PTD_TEST_NR_ATTACHED		64
#define PTD_TEST_MAX_BUF		(4u << 20)
#define PTD_TEST_MAX_BATCH		512

/* The domain that the DMA API uses for the device */
#define PTD_TEST_DEFAULT_DOMAIN		0xffffffffu

/**
 * struct ptd_test_info - one of the devices that are there
 * @index: 0, 1, ... until the ioctl fails with ENOENT
 * @segment: out: PCI segment
 * @bus: out: its bus
 * @devfn: out: device and function
 * @group: out: ID of its IOMMU group, -1 for none
 * @max_pasids: out: how many PASIDs device and IOMMU can do
 * @pasid_enabled: out: PASIDs are switched on in the device
 * @ats_enabled: out: ATS is switched on in the device
 */
struct ptd_test_info {
	__u32 index;
	__u32 segment;
	__u32 bus;
	__u32 devfn;
	__s32 group;
	__u32 max_pasids;
	__u32 pasid_enabled;
	__u32 ats_enabled;
};

/**
 * struct ptd_test_open - take a device for this file
 * @segment: PCI segment
 * @bus: its bus
 * @devfn: device and function
 */
struct ptd_test_open {
	__u32 segment;
	__u32 bus;
	__u32 devfn;
};

/**
 * struct ptd_test_buf_alloc - allocate memory, zeroed
 * @size: bytes, a multiple of the page size, at most PTD_TEST_MAX_BUF
 * @coherent: 1: by dma_alloc_coherent(), 0: contiguous pages, mapped nowhere
 * @buf: out: its index
 * @pad: ignored
 * @addr: out: DMA address, or physical address
 */
struct ptd_test_buf_alloc {
	__u32 size;
	__u32 coherent;
	__u32 buf;
	__u32 pad;
	__u64 addr;
};

/**
 * struct ptd_test_buf_copy - read or write a buffer
 * @buf: its index
 * @offset: first byte
 * @len: bytes
 * @write: 1: from @data to the buffer, 0: from the buffer to @data
 * @data: user address
 */
struct ptd_test_buf_copy {
	__u32 buf;
	__u32 offset;
	__u32 len;
	__u32 write;
	__u64 data;
};

/**
 * struct ptd_test_map - iommu_map() or iommu_unmap() a whole buffer
 * @domain: index of the domain
 * @buf: index of the buffer, of the kind that is not coherent
 * @iova: where
 * @writable: 1: for reading and writing, 0: for reading only
 * @pad: ignored
 */
struct ptd_test_map {
	__u32 domain;
	__u32 buf;
	__u64 iova;
	__u32 writable;
	__u32 pad;
};

/**
 * struct ptd_test_attach - attach a domain to a PASID, or detach it
 * @domain: index of the domain, or PTD_TEST_DEFAULT_DOMAIN; detach ignores it
 * @pasid: the PASID; 0: the group itself, for DMA without PASID
 */
struct ptd_test_attach {
	__u32 domain;
	__u32 pasid;
};

/**
 * struct ptd_test_request - a request to the device
 * @queue: which queue
 * @slot: which slot of the queue
 * @ctrl: PTD_OP_* and PTD_F_*; the driver adds PTD_F_IRQ
 * @pasid: with PTD_F_PASID
 * @src: address to read
 * @dst: address to write
 * @len: bytes
 * @delay_us: pause before each step
 * @pattern: for FILL and VERIFY
 * @buf: for READ and WRITE
 * @status: out: PTD_ST_*
 * @moved: out: bytes
 * @pad: ignored
 * @fault_addr: out: where it stopped
 */
struct ptd_test_request {
	__u32 queue;
	__u32 slot;
	__u32 ctrl;
	__u32 pasid;
	__u64 src;
	__u64 dst;
	__u32 len;
	__u32 delay_us;
	__u64 pattern;
	__u32 buf;
	__u32 status;
	__u32 moved;
	__u32 pad;
	__u64 fault_addr;
};

/**
 * struct ptd_test_batch - submit requests, or read how they stand
 * @nr: how many, at most PTD_TEST_MAX_BATCH
 * @pad: ignored
 * @requests: user address of that many struct ptd_test_request
 *
 * PTD_TEST_SUBMIT stops at the first request whose slot is busy (EBUSY) or not
 * there (EINVAL). PTD_TEST_STATUS writes the "out" members.
 */
struct ptd_test_batch {
	__u32 nr;
	__u32 pad;
	__u64 requests;
};

/**
 * struct ptd_test_wait - sleep until requests have ended
 * @queue: which queue
 * @timeout_ms: fail with ETIMEDOUT if nothing interrupts for so long
 * @slots: the slots, a bit each
 */
struct ptd_test_wait {
	__u32 queue;
	__u32 timeout_ms;
	__u64 slots;
};

/**
 * struct ptd_test_reg - one access to BAR 0
 * @offset: where, a multiple of @width
 * @width: 1, 2, 4 or 8 bytes
 * @write: 1: write @value, 0: read it
 * @pad: ignored
 * @value: in or out
 */
struct ptd_test_reg {
	__u32 offset;
	__u32 width;
	__u32 write;
	__u32 pad;
	__u64 value;
};

/**
 * struct ptd_test_regs - several accesses to BAR 0, in order
 * @nr: how many, at most PTD_TEST_MAX_BATCH
 * @pad: ignored
 * @regs: user address of that many struct ptd_test_reg
 */
struct ptd_test_regs {
	__u32 nr;
	__u32 pad;
	__u64 regs;
};

#define PTD_TEST_INFO		_IOWR(IOMMU_EXT_TEST_PASID_TESTDEV, 0, struct ptd_test_info)
#define PTD_TEST_OPEN		_IOW(IOMMU_EXT_TEST_PASID_TESTDEV, 1, struct ptd_test_open)
#define PTD_TEST_BUF_ALLOC	_IOWR(IOMMU_EXT_TEST_PASID_TESTDEV, 2, struct ptd_test_buf_alloc)
#define PTD_TEST_BUF_FREE	_IOW(IOMMU_EXT_TEST_PASID_TESTDEV, 3, __u32)
#define PTD_TEST_BUF_COPY	_IOW(IOMMU_EXT_TEST_PASID_TESTDEV, 4, struct ptd_test_buf_copy)
#define PTD_TEST_DOMAIN_ALLOC	_IOR(IOMMU_EXT_TEST_PASID_TESTDEV, 5, __u32)
#define PTD_TEST_DOMAIN_FREE	_IOW(IOMMU_EXT_TEST_PASID_TESTDEV, 6, __u32)
#define PTD_TEST_MAP		_IOW(IOMMU_EXT_TEST_PASID_TESTDEV, 7, struct ptd_test_map)
#define PTD_TEST_UNMAP		_IOW(IOMMU_EXT_TEST_PASID_TESTDEV, 8, struct ptd_test_map)
#define PTD_TEST_ATTACH		_IOW(IOMMU_EXT_TEST_PASID_TESTDEV, 9, struct ptd_test_attach)
#define PTD_TEST_DETACH		_IOW(IOMMU_EXT_TEST_PASID_TESTDEV, 10, struct ptd_test_attach)
#define PTD_TEST_SUBMIT		_IOW(IOMMU_EXT_TEST_PASID_TESTDEV, 11, struct ptd_test_batch)
#define PTD_TEST_STATUS		_IOW(IOMMU_EXT_TEST_PASID_TESTDEV, 12, struct ptd_test_batch)
#define PTD_TEST_WAIT		_IOW(IOMMU_EXT_TEST_PASID_TESTDEV, 13, struct ptd_test_wait)
#define PTD_TEST_SVA_BIND	_IOR(IOMMU_EXT_TEST_PASID_TESTDEV, 14, __u32) /* PASID */
#define PTD_TEST_SVA_UNBIND	_IO(IOMMU_EXT_TEST_PASID_TESTDEV, 15)
#define PTD_TEST_RESET		_IO(IOMMU_EXT_TEST_PASID_TESTDEV, 16) /* by FLR */
#define PTD_TEST_REGS		_IOW(IOMMU_EXT_TEST_PASID_TESTDEV, 17, struct ptd_test_regs)
/* When the driver is unbound with this file open, the device goes on, and is bus master */
#define PTD_TEST_CARELESS	_IO(IOMMU_EXT_TEST_PASID_TESTDEV, 18)

/* DMA ownership, through devices bound to iommu_ext_managed or iommu_ext_plain. */

#define DMA_OWNER_TEST_NR_COOKIES	4
#define DMA_OWNER_TEST_BUF_SIZE		0x10000

enum dma_owner_test_how {
	DMA_OWNER_TEST_BY_DEVICE,	/* iommu_attach_device() */
	DMA_OWNER_TEST_BY_GROUP,	/* iommu_attach_group() */
	DMA_OWNER_TEST_BY_PASID,	/* iommu_attach_device_pasid() */
};

/**
 * struct dma_owner_test_dev - a device that is bound to one of the drivers
 * @segment: PCI segment
 * @bus: its bus
 * @devfn: device and function, as PCI_DEVFN()
 */
struct dma_owner_test_dev {
	__u32 segment;
	__u32 bus;
	__u32 devfn;
};

/**
 * struct dma_owner_test_call - set or release the DMA owner
 * @dev: the device
 * @owner: enum iommu_dma_owner, or something else
 * @cookie: 0 for NULL, or which of DMA_OWNER_TEST_NR_COOKIES
 * @error: out: what setting returned
 */
struct dma_owner_test_call {
	struct dma_owner_test_dev dev;
	__u32 owner;
	__u32 cookie;
	__s32 error;
};

/**
 * struct dma_owner_test_attach - attach a domain of the driver's own
 * @dev: the device
 * @how: enum dma_owner_test_how
 * @pasid: for DMA_OWNER_TEST_BY_PASID
 * @error: out: what attaching returned
 */
struct dma_owner_test_attach {
	struct dma_owner_test_dev dev;
	__u32 how;
	__u32 pasid;
	__s32 error;
};

/**
 * struct dma_owner_test_fill - let a pasid-testdev write to memory of the DMA API
 * @dev: the device
 * @len: bytes, at most DMA_OWNER_TEST_BUF_SIZE
 * @delay_us: pause before each step
 * @status: out: PTD_ST_*
 * @moved: out: bytes that the device has written
 * @changed: out: bytes of the whole buffer that have changed
 */
struct dma_owner_test_fill {
	struct dma_owner_test_dev dev;
	__u32 len;
	__u32 delay_us;
	__u32 status;
	__u32 moved;
	__u32 changed;
};

#define DMA_OWNER_TEST_CLAIM	_IOWR(IOMMU_EXT_TEST_DMA_OWNER, 0, struct dma_owner_test_call)
#define DMA_OWNER_TEST_RELEASE	_IOW(IOMMU_EXT_TEST_DMA_OWNER, 1, struct dma_owner_test_call)
/* The claims stay when the driver is unbound, until the file is closed */
#define DMA_OWNER_TEST_KEEP	_IOW(IOMMU_EXT_TEST_DMA_OWNER, 2, struct dma_owner_test_dev)
#define DMA_OWNER_TEST_ATTACH	_IOWR(IOMMU_EXT_TEST_DMA_OWNER, 3, struct dma_owner_test_attach)
#define DMA_OWNER_TEST_DETACH	_IOW(IOMMU_EXT_TEST_DMA_OWNER, 4, struct dma_owner_test_dev)
#define DMA_OWNER_TEST_FILL	_IOW(IOMMU_EXT_TEST_DMA_OWNER, 5, struct dma_owner_test_fill)
#define DMA_OWNER_TEST_FILLED	_IOWR(IOMMU_EXT_TEST_DMA_OWNER, 6, struct dma_owner_test_fill)
/* pci_dev_reset_iommu_prepare() and _done() */
#define DMA_OWNER_TEST_RESET_BEGIN _IOW(IOMMU_EXT_TEST_DMA_OWNER, 7, struct dma_owner_test_dev)
#define DMA_OWNER_TEST_RESET_END _IOW(IOMMU_EXT_TEST_DMA_OWNER, 8, struct dma_owner_test_dev)

/*
 * Owners of the private data of domains: of one that a device is attached to, of
 * a static one of its IOMMU, or of one that the file has made for a device.
 */

enum user_domain_test_which {
	USER_DOMAIN_TEST_ATTACHED,	/* to the device, or to its PASID */
	USER_DOMAIN_TEST_BLOCKING,
	USER_DOMAIN_TEST_IDENTITY,
	USER_DOMAIN_TEST_OWN,
};

enum user_domain_test_action {
	USER_DOMAIN_TEST_LOOK,
	USER_DOMAIN_TEST_CLAIM,		/* iommu_domain_set_data_owner() */
	USER_DOMAIN_TEST_CLEAR,		/* iommu_domain_clear_data_owner() */
	USER_DOMAIN_TEST_MSI,		/* iommu_get_msi_cookie() */
	USER_DOMAIN_TEST_HANDLER,	/* iommu_set_fault_handler() */
};

/**
 * struct user_domain_test_call - do something to a domain's private data
 * @segment: PCI segment of the device
 * @bus: its bus
 * @devfn: device and function, as PCI_DEVFN()
 * @pasid: for USER_DOMAIN_TEST_ATTACHED; 0 for the device itself
 * @which: enum user_domain_test_which
 * @action: enum user_domain_test_action; all but LOOK and CLAIM are for the
 *          file's own domain only
 * @owner: for CLAIM and CLEAR. A claim that succeeds for another domain than the
 *         file's own is taken back at once
 * @error: out: what the action returned
 * @now: out: the owner afterwards
 * @type: out: the type afterwards
 * @changed: out: 1 if type or private data are others than before
 */
struct user_domain_test_call {
	__u32 segment;
	__u32 bus;
	__u32 devfn;
	__u32 pasid;
	__u32 which;
	__u32 action;
	__u32 owner;
	__s32 error;
	__u32 now;
	__u32 type;
	__u32 changed;
};

#define USER_DOMAIN_TEST_CALL	_IOWR(IOMMU_EXT_TEST_USER_DOMAIN, 0, struct user_domain_test_call)
/* Make the file's own domain for a device; it is freed with the file */
#define USER_DOMAIN_TEST_ALLOC	_IOW(IOMMU_EXT_TEST_USER_DOMAIN, 1, struct user_domain_test_call)
#define USER_DOMAIN_TEST_FREE	_IO(IOMMU_EXT_TEST_USER_DOMAIN, 2)

/*
 * DMA with PASID inside the kernel, for PCI devices that are bound to a driver
 * (ENODEV otherwise). What a file enabled is disabled, and what it mapped for the
 * DMA API is unmapped, when the file is closed or the driver is unbound.
 */

#define DMA_PASID_TEST_NR_BUFS		64
#define DMA_PASID_TEST_MAX_BUF		(64u << 20)

/**
 * struct dma_pasid_test_mode - enable or disable a mode
 * @dev: the device
 * @mode: enum iommu_dma_pasid_mode, or something else
 * @no_pointer: 1: pass NULL for the domain
 * @ret: out: what was returned: a PASID, 0, or an error
 * @domain: out: 1: the pointer to the domain is not NULL afterwards
 */
struct dma_pasid_test_mode {
	struct dma_owner_test_dev dev;
	__u32 mode;
	__u32 no_pointer;
	__s32 ret;
	__u32 domain;
};

enum dma_pasid_test_kind {
	DMA_PASID_TEST_PAGES,	/* contiguous, at most 4 MiB */
	DMA_PASID_TEST_VMALLOC,	/* by vmalloc() */
	DMA_PASID_TEST_SPREAD,	/* at one address pages no two of which are contiguous */
	DMA_PASID_TEST_VMAP,	/* contiguous, at an address in vmalloc space */
	DMA_PASID_TEST_HUGE,	/* by vmalloc_huge() */
};

/**
 * struct dma_pasid_test_buf - allocate memory, zeroed
 * @kind: enum dma_pasid_test_kind
 * @size: bytes, a multiple of the page size, at most DMA_PASID_TEST_MAX_BUF
 * @buf: out: its index
 * @level: out: of the leaf that maps the first byte: 1 for a page, 2 for 2 MiB
 * @addr: out: kernel virtual address
 * @phys: out: physical address of the first byte
 */
struct dma_pasid_test_buf {
	__u32 kind;
	__u32 size;
	__u32 buf;
	__u32 level;
	__u64 addr;
	__u64 phys;
};

/**
 * struct dma_pasid_test_copy - read or write a buffer
 * @buf: its index
 * @offset: first byte
 * @len: bytes
 * @write: 1: from @data to the buffer, 0: from the buffer to @data
 * @data: user address
 */
struct dma_pasid_test_copy {
	__u32 buf;
	__u32 offset;
	__u32 len;
	__u32 write;
	__u64 data;
};

/**
 * struct dma_pasid_test_kva - iommu_map_kva() or iommu_unmap_kva()
 * @dev: the device, for which this file enabled the mode
 * @prot: as the kernel's call has it
 * @addr: the address
 * @size: bytes
 * @error: out: what was returned
 * @pad: ignored
 */
struct dma_pasid_test_kva {
	struct dma_owner_test_dev dev;
	__u32 prot;
	__u64 addr;
	__u64 size;
	__s32 error;
	__u32 pad;
};

/* Addresses that are something special */
enum dma_pasid_test_special {
	DMA_PASID_TEST_TEXT,		/* the kernel's */
	DMA_PASID_TEST_TEXT_ALIAS,	/* the same in the direct map */
	DMA_PASID_TEST_RODATA,
	DMA_PASID_TEST_RODATA_ALIAS,
	DMA_PASID_TEST_MODULE_TEXT,	/* of this module */
	DMA_PASID_TEST_MODULE_TEXT_ALIAS,
	DMA_PASID_TEST_MODULE_RODATA,
	DMA_PASID_TEST_MODULE_RODATA_ALIAS,
	DMA_PASID_TEST_MODULE_DATA,
	DMA_PASID_TEST_TEXT_VMAP,	/* the kernel's, where it could be written */
	DMA_PASID_TEST_READ_ONLY_VMAP,	/* memory, where it cannot be written */
	DMA_PASID_TEST_STACK,		/* the caller's */
	DMA_PASID_TEST_IOREMAP,		/* registers of the device */
	DMA_PASID_TEST_GUARD,		/* what follows a vmalloc() area */
	DMA_PASID_TEST_NO_MEMORY,	/* in the direct map, a hole below 1 MiB */
	DMA_PASID_TEST_OTHER_DOMAIN,	/* memory, but the DMA API's domain */
	DMA_PASID_TEST_NO_DOMAIN,	/* memory, but no domain */
	DMA_PASID_TEST_NR_SPECIAL,
};

/**
 * struct dma_pasid_test_special_map - iommu_map_kva() of a special address
 * @dev: the device, for which this file enabled the mode
 * @special: enum dma_pasid_test_special
 * @prot: as the kernel's call has it
 * @error: out: what was returned; what was mapped is unmapped again
 */
struct dma_pasid_test_special_map {
	struct dma_owner_test_dev dev;
	__u32 special;
	__u32 prot;
	__s32 error;
};

/**
 * struct dma_pasid_test_dma - map a buffer for the DMA API, bidirectional
 * @dev: the device
 * @buf: the buffer, mapped once at a time
 * @offset: first byte; only for @sg 0
 * @len: bytes; only for @sg 0
 * @sg: 0: by dma_map_single(), 1: by dma_map_sg(), a page an entry
 * @pad: ignored
 * @addr: out: DMA address of the first byte; with an IOMMU there is one segment
 */
struct dma_pasid_test_dma {
	struct dma_owner_test_dev dev;
	__u32 buf;
	__u32 offset;
	__u32 len;
	__u32 sg;
	__u32 pad;
	__u64 addr;
};

#define DMA_PASID_TEST_MAX_THREADS	16

/**
 * struct dma_pasid_test_stress - kernel threads map and enable all at once
 * @dev: the device, for which this file enabled IOMMU_DMA_PASID_KVA
 * @buf: the buffer of which they map and unmap parts
 * @threads: how many, at most DMA_PASID_TEST_MAX_THREADS
 * @ms: for how long
 * @rounds: out: what all of them did, each time mapping and enabling and then the
 *	    opposite
 * @errors: out: calls that failed
 */
struct dma_pasid_test_stress {
	struct dma_owner_test_dev dev;
	__u32 buf;
	__u32 threads;
	__u32 ms;
	__u32 rounds;
	__u32 errors;
};

#define DMA_PASID_TEST_NR_HOLDS		4

/**
 * struct dma_pasid_test_hold - iommu_dma_pasid_take()
 * @dev: the device
 * @mode: enum iommu_dma_pasid_mode
 * @hold: its number, which is not in use
 * @ret: out: what was returned
 */
struct dma_pasid_test_hold {
	struct dma_owner_test_dev dev;
	__u32 mode;
	__u32 hold;
	__s32 ret;
};

/**
 * struct dma_pasid_test_hold_kva - iommu_dma_pasid_map_kva() or _unmap_kva()
 * @hold: its number
 * @prot: as the kernel's call has it
 * @addr: the address
 * @size: bytes
 * @error: out: what was returned
 * @pad: ignored
 */
struct dma_pasid_test_hold_kva {
	__u32 hold;
	__u32 prot;
	__u64 addr;
	__u64 size;
	__s32 error;
	__u32 pad;
};

/**
 * struct dma_pasid_test_load - a thread that holds, maps, unmaps and releases
 * @dev: the device, which stays, whatever becomes of its driver
 * @mapped: out: how often it mapped something
 * @over: out: how often the core had disabled the mode meanwhile
 * @refused: out: how often there was no driver, so that it got no hold
 * @bad: out: how often it got another error
 */
struct dma_pasid_test_load {
	struct dma_owner_test_dev dev;
	__u32 mapped;
	__u32 over;
	__u32 refused;
	__u32 bad;
};

#define DMA_PASID_TEST_ENABLE	_IOWR(IOMMU_EXT_TEST_DMA_PASID, 0, struct dma_pasid_test_mode)
#define DMA_PASID_TEST_DISABLE	_IOWR(IOMMU_EXT_TEST_DMA_PASID, 1, struct dma_pasid_test_mode)
/* What the file enabled is not disabled when the driver is unbound */
#define DMA_PASID_TEST_FORGET	_IOW(IOMMU_EXT_TEST_DMA_PASID, 2, struct dma_owner_test_dev)
#define DMA_PASID_TEST_BUF_ALLOC _IOWR(IOMMU_EXT_TEST_DMA_PASID, 3, struct dma_pasid_test_buf)
#define DMA_PASID_TEST_BUF_FREE	_IOW(IOMMU_EXT_TEST_DMA_PASID, 4, __u32)
#define DMA_PASID_TEST_BUF_COPY	_IOW(IOMMU_EXT_TEST_DMA_PASID, 5, struct dma_pasid_test_copy)
#define DMA_PASID_TEST_MAP	_IOWR(IOMMU_EXT_TEST_DMA_PASID, 6, struct dma_pasid_test_kva)
#define DMA_PASID_TEST_UNMAP	_IOWR(IOMMU_EXT_TEST_DMA_PASID, 7, struct dma_pasid_test_kva)
#define DMA_PASID_TEST_SPECIAL	\
	_IOWR(IOMMU_EXT_TEST_DMA_PASID, 8, struct dma_pasid_test_special_map)
#define DMA_PASID_TEST_DMA_MAP	_IOWR(IOMMU_EXT_TEST_DMA_PASID, 9, struct dma_pasid_test_dma)
#define DMA_PASID_TEST_DMA_UNMAP _IOW(IOMMU_EXT_TEST_DMA_PASID, 10, __u32) /* the buffer */
/* What vmalloc() has freed is not mapped any more, and flushed */
#define DMA_PASID_TEST_PURGE	_IO(IOMMU_EXT_TEST_DMA_PASID, 11)
/* The first page of the buffer, not mapped, goes from the direct map until it is freed */
#define DMA_PASID_TEST_HIDE	_IOW(IOMMU_EXT_TEST_DMA_PASID, 12, __u32) /* the buffer */
#define DMA_PASID_TEST_STRESS	_IOWR(IOMMU_EXT_TEST_DMA_PASID, 13, struct dma_pasid_test_stress)
/* Holds outlive the driver, and stay until the file is closed */
#define DMA_PASID_TEST_HOLD	_IOWR(IOMMU_EXT_TEST_DMA_PASID, 14, struct dma_pasid_test_hold)
#define DMA_PASID_TEST_RELEASE	_IOW(IOMMU_EXT_TEST_DMA_PASID, 15, __u32)
#define DMA_PASID_TEST_HOLD_MAP	\
	_IOWR(IOMMU_EXT_TEST_DMA_PASID, 16, struct dma_pasid_test_hold_kva)
#define DMA_PASID_TEST_HOLD_UNMAP \
	_IOWR(IOMMU_EXT_TEST_DMA_PASID, 17, struct dma_pasid_test_hold_kva)
#define DMA_PASID_TEST_LOAD_START _IOW(IOMMU_EXT_TEST_DMA_PASID, 18, struct dma_pasid_test_load)
#define DMA_PASID_TEST_LOAD_STOP _IOR(IOMMU_EXT_TEST_DMA_PASID, 19, struct dma_pasid_test_load)
/* The first page of a buffer by DMA_PASID_TEST_PAGES is uncached for a moment */
#define DMA_PASID_TEST_UNCACHE	_IOW(IOMMU_EXT_TEST_DMA_PASID, 20, __u32)

#endif /* _IOMMU_EXT_TEST_H */
