/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the IOMMU extensions.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM iommu_ext

#if !defined(_TRACE_IOMMU_EXT_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_IOMMU_EXT_H

#include <linux/device.h>
#include <linux/ioasid.h>
#ifdef CONFIG_IOMMU_EXT
#include <linux/iommu-user-domain.h>
#endif
#include <linux/tracepoint.h>

/* An ID was allocated, or not: then ioasid is INVALID_IOASID. */
TRACE_EVENT(ioasid_alloc,
	    TP_PROTO(ioasid_t ioasid, const struct ioasid_set *set, ioasid_t min,
		     ioasid_t max),
	    TP_ARGS(ioasid, set, min, max),
	    TP_STRUCT__entry(__field(ioasid_t, ioasid)
			     __string(set, set ? set->name : "")
			     __field(ioasid_t, min)
			     __field(ioasid_t, max)),
	    TP_fast_assign(__entry->ioasid = ioasid;
			   __assign_str(set);
			   __entry->min = min;
			   __entry->max = max;),
	    TP_printk("ioasid=%d set=%s min=%u max=%u", (int)__entry->ioasid,
		      __get_str(set), __entry->min, __entry->max)
);

DECLARE_EVENT_CLASS(ioasid_reference,
		    TP_PROTO(ioasid_t ioasid),
		    TP_ARGS(ioasid),
		    TP_STRUCT__entry(__field(ioasid_t, ioasid)),
		    TP_fast_assign(__entry->ioasid = ioasid;),
		    TP_printk("ioasid=%u", __entry->ioasid)
);

/* A reference was added. */
DEFINE_EVENT(ioasid_reference, ioasid_get,
	     TP_PROTO(ioasid_t ioasid),
	     TP_ARGS(ioasid)
);

/* A reference was dropped, and there are more. */
DEFINE_EVENT(ioasid_reference, ioasid_put,
	     TP_PROTO(ioasid_t ioasid),
	     TP_ARGS(ioasid)
);

/* The last reference was dropped. */
DEFINE_EVENT(ioasid_reference, ioasid_free,
	     TP_PROTO(ioasid_t ioasid),
	     TP_ARGS(ioasid)
);

#ifdef CONFIG_IOMMU_EXT
#define iommu_ext_show_dma_owner(owner)		\
	__print_symbolic(owner,			\
		{ 0, "none" },			\
		{ 1, "dma-api" },		\
		{ 2, "private-domain" },	\
		{ 3, "private-domain-user" })

/*
 * @dev is NULL where a whole group is claimed; @count is how many claims the
 * group has afterwards.
 */
DECLARE_EVENT_CLASS(iommu_dma_owner,
		    TP_PROTO(int group, struct device *dev, unsigned int owner,
			     unsigned int count),
		    TP_ARGS(group, dev, owner, count),
		    TP_STRUCT__entry(__field(int, group)
				     __string(device, dev ? dev_name(dev) : "-")
				     __field(unsigned int, owner)
				     __field(unsigned int, count)),
		    TP_fast_assign(__entry->group = group;
				   __assign_str(device);
				   __entry->owner = owner;
				   __entry->count = count;),
		    TP_printk("group=%d device=%s owner=%s count=%u",
			      __entry->group, __get_str(device),
			      iommu_ext_show_dma_owner(__entry->owner),
			      __entry->count)
);

DEFINE_EVENT(iommu_dma_owner, iommu_dma_owner_claim,
	     TP_PROTO(int group, struct device *dev, unsigned int owner,
		      unsigned int count),
	     TP_ARGS(group, dev, owner, count));

DEFINE_EVENT(iommu_dma_owner, iommu_dma_owner_release,
	     TP_PROTO(int group, struct device *dev, unsigned int owner,
		      unsigned int count),
	     TP_ARGS(group, dev, owner, count));

/* @group is -1 if there is none. */
TRACE_EVENT(iommu_dma_owner_refuse,
	    TP_PROTO(int group, struct device *dev, unsigned int owner, int error),
	    TP_ARGS(group, dev, owner, error),
	    TP_STRUCT__entry(__field(int, group)
			     __string(device, dev ? dev_name(dev) : "-")
			     __field(unsigned int, owner)
			     __field(int, error)),
	    TP_fast_assign(__entry->group = group;
			   __assign_str(device);
			   __entry->owner = owner;
			   __entry->error = error;),
	    TP_printk("group=%d device=%s owner=%s error=%d",
		      __entry->group, __get_str(device),
		      iommu_ext_show_dma_owner(__entry->owner), __entry->error)
);

/* A driver's domain_alloc_user was called; @error is 0 if there is a domain. */
TRACE_EVENT(iommu_domain_alloc_user,
	    TP_PROTO(struct device *dev,
		     const struct iommu_user_domain_driver *driver, u32 flags,
		     bool nested, int error),
	    TP_ARGS(dev, driver, flags, nested, error),
	    TP_STRUCT__entry(__string(device, dev_name(dev))
			     __string(driver, driver->name)
			     __field(u32, flags)
			     __field(bool, nested)
			     __field(int, error)),
	    TP_fast_assign(__assign_str(device);
			   __assign_str(driver);
			   __entry->flags = flags;
			   __entry->nested = nested;
			   __entry->error = error;),
	    TP_printk("device=%s driver=%s flags=%#x nested=%d error=%d",
		      __get_str(device), __get_str(driver), __entry->flags,
		      __entry->nested, __entry->error)
);

#define iommu_ext_show_dma_pasid(mode)		\
	__print_symbolic(mode,			\
		{ 0, "bypass" },		\
		{ 1, "iova" },			\
		{ 2, "kva" })

/* @count is how often the group has the mode enabled afterwards. */
DECLARE_EVENT_CLASS(iommu_dma_pasid,
		    TP_PROTO(int group, struct device *dev, unsigned int mode,
			     ioasid_t pasid, unsigned int count),
		    TP_ARGS(group, dev, mode, pasid, count),
		    TP_STRUCT__entry(__field(int, group)
				     __string(device, dev_name(dev))
				     __field(unsigned int, mode)
				     __field(ioasid_t, pasid)
				     __field(unsigned int, count)),
		    TP_fast_assign(__entry->group = group;
				   __assign_str(device);
				   __entry->mode = mode;
				   __entry->pasid = pasid;
				   __entry->count = count;),
		    TP_printk("group=%d device=%s mode=%s pasid=%u count=%u",
			      __entry->group, __get_str(device),
			      iommu_ext_show_dma_pasid(__entry->mode),
			      __entry->pasid, __entry->count)
);

DEFINE_EVENT(iommu_dma_pasid, iommu_dma_pasid_enable,
	     TP_PROTO(int group, struct device *dev, unsigned int mode,
		      ioasid_t pasid, unsigned int count),
	     TP_ARGS(group, dev, mode, pasid, count));

DEFINE_EVENT(iommu_dma_pasid, iommu_dma_pasid_disable,
	     TP_PROTO(int group, struct device *dev, unsigned int mode,
		      ioasid_t pasid, unsigned int count),
	     TP_ARGS(group, dev, mode, pasid, count));

/* @group is -1 if there is none, or if the arguments were wrong. */
TRACE_EVENT(iommu_dma_pasid_refuse,
	    TP_PROTO(int group, struct device *dev, unsigned int mode, int error),
	    TP_ARGS(group, dev, mode, error),
	    TP_STRUCT__entry(__field(int, group)
			     __string(device, dev_name(dev))
			     __field(unsigned int, mode)
			     __field(int, error)),
	    TP_fast_assign(__entry->group = group;
			   __assign_str(device);
			   __entry->mode = mode;
			   __entry->error = error;),
	    TP_printk("group=%d device=%s mode=%s error=%d",
		      __entry->group, __get_str(device),
		      iommu_ext_show_dma_pasid(__entry->mode), __entry->error)
);

TRACE_EVENT(iommu_kva_map,
	    TP_PROTO(unsigned long addr, unsigned long size, int prot, int error),
	    TP_ARGS(addr, size, prot, error),
	    TP_STRUCT__entry(__field(unsigned long, addr)
			     __field(unsigned long, size)
			     __field(int, prot)
			     __field(int, error)),
	    TP_fast_assign(__entry->addr = addr;
			   __entry->size = size;
			   __entry->prot = prot;
			   __entry->error = error;),
	    TP_printk("addr=%#lx size=%lu prot=%d error=%d", __entry->addr,
		      __entry->size, __entry->prot, __entry->error)
);

TRACE_EVENT(iommu_kva_unmap,
	    TP_PROTO(unsigned long addr, unsigned long size, int error),
	    TP_ARGS(addr, size, error),
	    TP_STRUCT__entry(__field(unsigned long, addr)
			     __field(unsigned long, size)
			     __field(int, error)),
	    TP_fast_assign(__entry->addr = addr;
			   __entry->size = size;
			   __entry->error = error;),
	    TP_printk("addr=%#lx size=%lu error=%d", __entry->addr,
		      __entry->size, __entry->error)
);
#endif /* CONFIG_IOMMU_EXT */

#endif /* _TRACE_IOMMU_EXT_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
