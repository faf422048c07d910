/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pasid-testdev: an endpoint that does DMA with PASIDs on request
 *
 * Descriptors live in BAR memory. A doorbell queues a copy of one; a bottom
 * half then carries it out in bounded steps, so that the guest runs, unmaps,
 * disables and unbinds while requests are in flight. The kernel series'
 * Documentation/driver-api/iommu-ext/pasid-testdev.rst specifies the device.
 *
 * Everything here runs under the BQL. DMA reaches memory only, no device's
 * registers, whatever addresses the guest gives: so no access has effects on
 * the function itself. An MSI-X message, however, goes wherever the guest wants
 * it, and may reset or even unplug the function: so messages are sent last.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pcie.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "pasid_testdev_regs.h"

#define TYPE_PASID_TESTDEV "pasid-testdev"
OBJECT_DECLARE_SIMPLE_TYPE(PtdState, PASID_TESTDEV)

#define PTD_PAGE_SIZE       4096ULL
#define PTD_ATC_MAX         16384
#define PTD_ATC_PRIV        1ULL    /* ATC keys: page address | this */
#define PTD_SLOT_SIZE       (PTD_SLOT(0, 1) - PTD_SLOT(0, 0))

/* A descriptor as it was at its doorbell */
typedef struct PtdRequest {
    uint32_t ctrl;
    uint32_t pasid;
    uint64_t src;
    uint64_t dst;
    uint32_t len;
    uint32_t delay_us;
    uint64_t pattern;
    uint32_t buf;
    uint32_t moved;
} PtdRequest;

typedef struct PtdQueue {
    PtdState *dev;
    QEMUTimer *timer;
    QEMUBH *bh;
    uint8_t fifo[PTD_NR_SLOTS];     /* slots, the running one first */
    unsigned count;
    uint64_t pending;
    uint64_t done;
    uint32_t hold;
    uint32_t vector;
    uint32_t chunk;
    uint32_t errors;
    PtdRequest req[PTD_NR_SLOTS];
    uint8_t slot[PTD_NR_SLOTS][PTD_SLOT_SIZE];
} PtdQueue;

/* One PASID, or none, as this function uses it */
typedef struct PtdContext {
    IOMMUNotifier notifier;         /* registered if atc is not NULL */
    PtdState *dev;
    uint32_t pasid;
    AddressSpace *as;
    IOMMUMemoryRegion *iommu;
    GHashTable *atc;                /* page | PTD_ATC_PRIV to PtdAtcEntry */
} PtdContext;

typedef struct PtdAtcEntry {
    hwaddr addr;
    IOMMUAccessFlags perm;
} PtdAtcEntry;

struct PtdState {
    PCIDevice parent_obj;

    MemoryRegion bar;
    uint8_t pasid_bits;
    bool pasid_exec;
    bool pasid_priv;
    bool ats;
    uint32_t pasids;
    char *acs;

    uint16_t pasid_cap;
    GHashTable *used;               /* PASIDs that have a context, or had one */
    GHashTable *contexts;           /* PASID to PtdContext */
    unsigned atc_entries;
    uint32_t atc_hits;
    uint32_t atc_fills;
    uint32_t atc_invals;
    uint8_t interrupts;             /* a bit per queue that has to send one */

    PtdQueue queue[PTD_NR_QUEUES];
    uint8_t buf[PTD_BUF_SIZE];
};

/* Contexts and the translation cache */

static bool ptd_ats_enabled(PtdState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);

    return s->ats &&
           pci_get_word(pdev->config + pdev->exp.ats_cap + PCI_ATS_CTRL) &
           PCI_ATS_CTRL_ENABLE;
}

typedef struct PtdRange {
    hwaddr first;
    hwaddr last;
} PtdRange;

static gboolean ptd_atc_in_range(gpointer key, gpointer value, gpointer opaque)
{
    hwaddr page = *(uint64_t *)key & ~PTD_ATC_PRIV;
    PtdRange *range = opaque;

    return page <= range->last && page + PTD_PAGE_SIZE - 1 >= range->first;
}

static void ptd_atc_invalidate(IOMMUNotifier *n, IOMMUTLBEntry *entry)
{
    PtdContext *ctx = container_of(n, PtdContext, notifier);
    PtdState *s = ctx->dev;
    PtdRange range = { entry->iova, entry->iova + entry->addr_mask };

    s->atc_invals++;
    s->atc_entries -= g_hash_table_foreach_remove(ctx->atc, ptd_atc_in_range,
                                                  &range);
}

static void ptd_context_free(gpointer opaque)
{
    PtdContext *ctx = opaque;

    if (ctx->atc) {
        memory_region_unregister_iommu_notifier(MEMORY_REGION(ctx->iommu),
                                                &ctx->notifier);
        ctx->dev->atc_entries -= g_hash_table_size(ctx->atc);
        g_hash_table_unref(ctx->atc);
    }
    g_free(ctx);
}

/* An IOMMU never gives up the address space of a PASID, so they are counted */
static bool ptd_may_use(PtdState *s, uint32_t pasid)
{
    gpointer key = GUINT_TO_POINTER(pasid);

    return pasid == PCI_NO_PASID || g_hash_table_contains(s->used, key) ||
           (g_hash_table_size(s->used) < s->pasids &&
            g_hash_table_add(s->used, key));
}

static PtdContext *ptd_context(PtdState *s, uint32_t pasid)
{
    PtdContext *ctx = g_hash_table_lookup(s->contexts, GUINT_TO_POINTER(pasid));

    if (!ctx && ptd_may_use(s, pasid)) {
        ctx = g_new0(PtdContext, 1);
        ctx->dev = s;
        ctx->pasid = pasid;
        ctx->as = pci_device_iommu_pasid_address_space(PCI_DEVICE(s), pasid,
                                                       &ctx->iommu);
        g_hash_table_insert(s->contexts, GUINT_TO_POINTER(pasid), ctx);
    }
    return ctx;
}

/*
 * The translation cache of a context, which exists from its first use on. An
 * IOMMU without device TLBs tells of no invalidations, so then there is none.
 */
static GHashTable *ptd_context_atc(PtdContext *ctx)
{
    if (!ctx->atc && ctx->iommu) {
        iommu_notifier_init(&ctx->notifier, ptd_atc_invalidate,
                            IOMMU_NOTIFIER_DEVIOTLB_UNMAP, 0, HWADDR_MAX, 0);
        if (!memory_region_register_iommu_notifier(MEMORY_REGION(ctx->iommu),
                                                   &ctx->notifier, NULL)) {
            ctx->atc = g_hash_table_new_full(g_int64_hash, g_int64_equal,
                                             g_free, g_free);
        }
    }
    return ctx->atc;
}

/* Translate by the cache, asking the IOMMU for what is missing there */
static bool ptd_translate(PtdState *s, PtdContext *ctx, hwaddr addr,
                          bool is_write, MemTxAttrs attrs, hwaddr *translated)
{
    IOMMUAccessFlags perm = is_write ? IOMMU_WO : IOMMU_RO;
    hwaddr page = addr & ~(PTD_PAGE_SIZE - 1);
    uint64_t key = page | (attrs.user ? 0 : PTD_ATC_PRIV);
    PtdAtcEntry *entry = g_hash_table_lookup(ctx->atc, &key);
    IOMMUTLBEntry tlb;

    if (entry && entry->perm & perm) {
        s->atc_hits++;
        *translated = entry->addr | (addr & (PTD_PAGE_SIZE - 1));
        return true;
    }

    WITH_RCU_READ_LOCK_GUARD() {
        tlb = address_space_get_iotlb_entry(ctx->as, addr, is_write, attrs);
    }
    if (!(tlb.perm & perm)) {
        return false;
    }
    *translated = (tlb.translated_addr & ~tlb.addr_mask) |
                  (addr & tlb.addr_mask);
    page = *translated & ~(PTD_PAGE_SIZE - 1);
    if (entry && entry->addr == page) {
        entry->perm |= perm;
    } else if (entry) {
        *entry = (PtdAtcEntry) { page, perm };
    } else if (s->atc_entries < PTD_ATC_MAX) {
        entry = g_new(PtdAtcEntry, 1);
        *entry = (PtdAtcEntry) { page, perm };
        g_hash_table_insert(ctx->atc, g_memdup2(&key, sizeof(key)), entry);
        s->atc_entries++;
    }
    s->atc_fills++;
    return true;
}

/* Access memory as @req says, within one page */
static bool ptd_access(PtdState *s, PtdRequest *req, hwaddr addr, void *buf,
                       hwaddr len, bool is_write)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    bool pasid = req->ctrl & PTD_F_PASID;
    MemTxAttrs attrs = {
        .requester_id = pci_requester_id(pdev),
        .user = !(req->ctrl & PTD_F_PRIV),
        .memory = true,
    };
    PtdContext *ctx = NULL;
    AddressSpace *as;

    if (pasid || (ptd_ats_enabled(s) && !(req->ctrl & PTD_F_UNTRANSLATED))) {
        ctx = ptd_context(s, pasid ? req->pasid : PCI_NO_PASID);
    }
    as = pasid ? ctx->as : pci_get_address_space(pdev);
    if (!as) {
        return false;   /* no IOMMU that knows PASIDs */
    }
    if (ctx && ptd_ats_enabled(s) && !(req->ctrl & PTD_F_UNTRANSLATED) &&
        ptd_context_atc(ctx)) {
        if (!ptd_translate(s, ctx, addr, is_write, attrs, &addr)) {
            return false;
        }
        as = &address_space_memory;
    }
    return address_space_rw(as, addr, attrs, buf, len, is_write) == MEMTX_OK;
}

/* Carrying out requests */

static bool ptd_reads(PtdRequest *req)
{
    uint32_t op = req->ctrl & PTD_OP_MASK;

    return op == PTD_OP_COPY || op == PTD_OP_READ || op == PTD_OP_VERIFY;
}

static bool ptd_writes(PtdRequest *req)
{
    uint32_t op = req->ctrl & PTD_OP_MASK;

    return op == PTD_OP_COPY || op == PTD_OP_FILL || op == PTD_OP_WRITE;
}

/* May the request be sent? PTD_ST_OK, or why not. */
static uint32_t ptd_check(PtdState *s, PtdRequest *req)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint32_t op = req->ctrl & PTD_OP_MASK;
    uint16_t pasid_ctrl = 0;

    if (op < PTD_OP_COPY || op > PTD_OP_VERIFY ||
        req->ctrl & ~(PTD_OP_MASK | PTD_F_PASID | PTD_F_PRIV | PTD_F_EXEC |
                      PTD_F_IRQ | PTD_F_UNTRANSLATED) ||
        (req->ctrl & (PTD_F_PRIV | PTD_F_EXEC) && !(req->ctrl & PTD_F_PASID)) ||
        !req->len || req->len > PTD_MAX_LEN ||
        req->delay_us > PTD_MAX_DELAY_US ||
        (ptd_reads(req) && req->src + req->len - 1 < req->src) ||
        (ptd_writes(req) && req->dst + req->len - 1 < req->dst) ||
        ((op == PTD_OP_READ || op == PTD_OP_WRITE) &&
         (req->buf > PTD_BUF_SIZE || req->len > PTD_BUF_SIZE - req->buf))) {
        return PTD_ST_BAD_DESC;
    }
    if (!(pci_get_word(pdev->config + PCI_COMMAND) & PCI_COMMAND_MASTER)) {
        return PTD_ST_NO_MASTER;
    }
    if (!(req->ctrl & PTD_F_PASID)) {
        return PTD_ST_OK;
    }
    if (s->pasid_cap) {
        pasid_ctrl = pci_get_word(pdev->config + s->pasid_cap + PCI_PASID_CTRL);
    }
    if (!(pasid_ctrl & PCI_PASID_CTRL_ENABLE)) {
        return PTD_ST_PASID_OFF;
    }
    if (req->pasid >> s->pasid_bits) {
        return PTD_ST_BAD_PASID;
    }
    if (req->ctrl & PTD_F_PRIV && !(pasid_ctrl & PCI_PASID_CTRL_PRIV)) {
        return PTD_ST_PRIV_OFF;
    }
    if (req->ctrl & PTD_F_EXEC && !(pasid_ctrl & PCI_PASID_CTRL_EXEC)) {
        return PTD_ST_EXEC_OFF;
    }
    return ptd_context(s, req->pasid) ? PTD_ST_OK : PTD_ST_NO_CONTEXT;
}

static void ptd_status(PtdQueue *q, unsigned nr, uint32_t status,
                       uint64_t fault_addr)
{
    stl_le_p(q->slot[nr] + PTD_D_STATUS, status);
    stl_le_p(q->slot[nr] + PTD_D_MOVED, q->req[nr].moved);
    stq_le_p(q->slot[nr] + PTD_D_FAULT_ADDR, fault_addr);
}

/* End the first request of the queue */
static void ptd_complete(PtdQueue *q, uint32_t status, uint64_t fault_addr)
{
    unsigned nr = q->fifo[0];

    ptd_status(q, nr, status, fault_addr);
    memmove(q->fifo, q->fifo + 1, --q->count);
    q->pending &= ~(1ULL << nr);
    q->done |= 1ULL << nr;
    if (q->req[nr].ctrl & PTD_F_IRQ) {
        q->dev->interrupts |= 1 << (q - q->dev->queue);
    }
}

/*
 * The last thing to do: afterwards there may be no function any more. Its memory
 * stays a little longer, since QEMU still looks at it when we return.
 */
static void ptd_interrupt(PtdState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    unsigned i;

    if (!s->interrupts) {
        return;
    }
    aio_bh_schedule_oneshot(qemu_get_aio_context(), object_unref,
                            object_ref(s));
    for (i = 0; i < PTD_NR_QUEUES; i++) {
        if (s->interrupts & (1 << i)) {
            s->interrupts &= ~(1 << i);
            if (s->queue[i].vector < PTD_NR_VECTORS && msix_enabled(pdev)) {
                msix_notify(pdev, s->queue[i].vector);
            }
        }
    }
}

/* Have the next step of the queue done, when it is due */
static void ptd_kick(PtdQueue *q)
{
    uint32_t delay_us;

    timer_del(q->timer);
    qemu_bh_cancel(q->bh);
    if (!q->count || q->hold) {
        return;
    }
    delay_us = q->req[q->fifo[0]].delay_us;
    if (delay_us && delay_us <= PTD_MAX_DELAY_US) {
        timer_mod(q->timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                            delay_us * (int64_t)SCALE_US);
    } else {
        qemu_bh_schedule(q->bh);
    }
}

static void ptd_timer(void *opaque)
{
    PtdQueue *q = opaque;

    qemu_bh_schedule(q->bh);
}

/* Byte @i of what comes next in the sequence of patterns */
static uint8_t ptd_pattern(PtdRequest *req, uint32_t i)
{
    return req->pattern >> (req->moved + i) % 8 * 8;
}

/*
 * Move one piece, at most @max bytes and within one page on either side. The
 * result is PTD_ST_OK with *len the bytes moved, or what went wrong, and where.
 */
static uint32_t ptd_piece(PtdState *s, PtdRequest *req, hwaddr max,
                          uint32_t *len, uint64_t *fault_addr)
{
    uint32_t op = req->ctrl & PTD_OP_MASK;
    uint64_t src = req->src + req->moved;
    uint64_t dst = req->dst + req->moved;
    uint8_t data[PTD_PAGE_SIZE];
    uint32_t i;

    if (ptd_reads(req)) {
        max = MIN(max, PTD_PAGE_SIZE - src % PTD_PAGE_SIZE);
    }
    if (ptd_writes(req)) {
        max = MIN(max, PTD_PAGE_SIZE - dst % PTD_PAGE_SIZE);
    }
    *len = MIN(max, PTD_PAGE_SIZE);

    if (ptd_reads(req) && !ptd_access(s, req, src, data, *len, false)) {
        *fault_addr = src;
        return PTD_ST_READ_FAULT;
    }

    switch (op) {
    case PTD_OP_FILL:
        for (i = 0; i < *len; i++) {
            data[i] = ptd_pattern(req, i);
        }
        break;
    case PTD_OP_READ:
        memcpy(s->buf + req->buf + req->moved, data, *len);
        break;
    case PTD_OP_WRITE:
        memcpy(data, s->buf + req->buf + req->moved, *len);
        break;
    case PTD_OP_VERIFY:
        for (i = 0; i < *len; i++) {
            if (data[i] != ptd_pattern(req, i)) {
                *fault_addr = src + i;
                return PTD_ST_MISMATCH;
            }
        }
        break;
    }

    if (ptd_writes(req) && !ptd_access(s, req, dst, data, *len, true)) {
        *fault_addr = dst;
        return PTD_ST_WRITE_FAULT;
    }
    return PTD_ST_OK;
}

/* One step of the first request */
static void ptd_bh(void *opaque)
{
    PtdQueue *q = opaque;
    uint64_t fault_addr = 0;
    uint32_t status, len, left;
    PtdRequest *req;

    if (!q->count || q->hold) {
        return;
    }
    req = &q->req[q->fifo[0]];
    status = ptd_check(q->dev, req);
    left = MIN(q->chunk, req->len - req->moved);
    while (status == PTD_ST_OK && left) {
        status = ptd_piece(q->dev, req, left, &len, &fault_addr);
        if (status == PTD_ST_OK) {
            req->moved += len;
            left -= len;
        }
    }
    if (status != PTD_ST_OK || req->moved == req->len) {
        ptd_complete(q, status, fault_addr);
    } else {
        ptd_status(q, q->fifo[0], PTD_ST_RUNNING, 0);
    }
    ptd_kick(q);
    ptd_interrupt(q->dev);
}

static void ptd_doorbell(PtdQueue *q, uint32_t nr)
{
    PtdRequest *req;
    uint8_t *slot;

    if (nr >= PTD_NR_SLOTS || q->pending & (1ULL << nr)) {
        q->errors++;
        return;
    }
    req = &q->req[nr];
    slot = q->slot[nr];
    *req = (PtdRequest) {
        .ctrl = ldl_le_p(slot + PTD_D_CTRL),
        .pasid = ldl_le_p(slot + PTD_D_PASID),
        .src = ldq_le_p(slot + PTD_D_SRC),
        .dst = ldq_le_p(slot + PTD_D_DST),
        .len = ldl_le_p(slot + PTD_D_LEN),
        .delay_us = ldl_le_p(slot + PTD_D_DELAY_US),
        .pattern = ldq_le_p(slot + PTD_D_PATTERN),
        .buf = ldl_le_p(slot + PTD_D_BUF),
    };
    q->fifo[q->count++] = nr;
    q->pending |= 1ULL << nr;
    q->done &= ~(1ULL << nr);
    ptd_status(q, nr, PTD_ST_QUEUED, 0);
    if (q->count == 1) {
        ptd_kick(q);
    }
}

/* Drop everything in flight, without a word to the guest */
static void ptd_quiesce(PtdState *s)
{
    unsigned i;

    for (i = 0; i < PTD_NR_QUEUES; i++) {
        timer_del(s->queue[i].timer);
        qemu_bh_cancel(s->queue[i].bh);
        s->queue[i].count = 0;
    }
    s->interrupts = 0;
    g_hash_table_remove_all(s->contexts);
}

static void ptd_soft_reset(PtdState *s)
{
    unsigned i;

    ptd_quiesce(s);
    s->atc_hits = s->atc_fills = s->atc_invals = 0;
    memset(s->buf, 0, sizeof(s->buf));
    for (i = 0; i < PTD_NR_QUEUES; i++) {
        PtdQueue *q = &s->queue[i];

        q->pending = q->done = 0;
        q->hold = q->errors = 0;
        q->vector = i;
        q->chunk = PTD_DEF_CHUNK;
        memset(q->slot, 0, sizeof(q->slot));
    }
}

/* BAR 0 */

static uint32_t ptd_reg_read(PtdState *s, hwaddr addr)
{
    unsigned nr = (addr - PTD_QUEUE(0)) / (PTD_QUEUE(1) - PTD_QUEUE(0));
    uint32_t val = 0;
    PtdQueue *q;
    unsigned i;

    switch (addr) {
    case PTD_REG_ID:
        return PTD_ID;
    case PTD_REG_VERSION:
        return PTD_VERSION;
    case PTD_REG_CAPS:
        return PTD_NR_QUEUES | PTD_NR_SLOTS << 8;
    case PTD_REG_BUSY:
        for (i = 0; i < PTD_NR_QUEUES; i++) {
            val |= !!s->queue[i].count << i;
        }
        return val;
    case PTD_REG_ATC_ENTRIES:
        return s->atc_entries;
    case PTD_REG_ATC_HITS:
        return s->atc_hits;
    case PTD_REG_ATC_FILLS:
        return s->atc_fills;
    case PTD_REG_ATC_INVALS:
        return s->atc_invals;
    }

    if (addr < PTD_QUEUE(0) || nr >= PTD_NR_QUEUES) {
        return 0;
    }
    q = &s->queue[nr];
    switch (addr - PTD_QUEUE(nr)) {
    case PTD_Q_CTRL:
        return q->hold;
    case PTD_Q_PENDING:
        return q->pending;
    case PTD_Q_PENDING + 4:
        return q->pending >> 32;
    case PTD_Q_DONE:
        return q->done;
    case PTD_Q_DONE + 4:
        return q->done >> 32;
    case PTD_Q_VECTOR:
        return q->vector;
    case PTD_Q_CHUNK:
        return q->chunk;
    case PTD_Q_ERRORS:
        return q->errors;
    }
    return 0;
}

static void ptd_reg_write(PtdState *s, hwaddr addr, uint32_t val)
{
    unsigned nr = (addr - PTD_QUEUE(0)) / (PTD_QUEUE(1) - PTD_QUEUE(0));
    PtdQueue *q;

    if (addr == PTD_REG_CTRL && val & PTD_CTRL_RESET) {
        ptd_soft_reset(s);
    }

    if (addr < PTD_QUEUE(0) || nr >= PTD_NR_QUEUES) {
        return;
    }
    q = &s->queue[nr];
    switch (addr - PTD_QUEUE(nr)) {
    case PTD_Q_CTRL:
        if (q->hold != (val & PTD_Q_CTRL_HOLD)) {
            q->hold = val & PTD_Q_CTRL_HOLD;
            ptd_kick(q);
        }
        while (val & PTD_Q_CTRL_ABORT && q->count) {
            ptd_complete(q, PTD_ST_ABORTED, 0);
        }
        break;
    case PTD_Q_DOORBELL:
        ptd_doorbell(q, val);
        break;
    case PTD_Q_DONE:
        q->done &= ~(uint64_t)val;
        break;
    case PTD_Q_DONE + 4:
        q->done &= ~((uint64_t)val << 32);
        break;
    case PTD_Q_VECTOR:
        q->vector = val;
        break;
    case PTD_Q_CHUNK:
        if (val && val <= PTD_MAX_CHUNK) {
            q->chunk = val;
        }
        break;
    }
}

/* The bytes behind @addr that are plain memory, NULL for registers */
static uint8_t *ptd_memory(PtdState *s, hwaddr addr, hwaddr *offset)
{
    hwaddr queue_size = sizeof(s->queue[0].slot);

    if (addr >= PTD_BUF) {
        *offset = addr - PTD_BUF;
        return s->buf;
    }
    if (addr >= PTD_SLOT(0, 0)) {
        *offset = (addr - PTD_SLOT(0, 0)) % queue_size;
        return s->queue[(addr - PTD_SLOT(0, 0)) / queue_size].slot[0];
    }
    return NULL;
}

static uint64_t ptd_read(void *opaque, hwaddr addr, unsigned size)
{
    PtdState *s = opaque;
    hwaddr offset;
    uint8_t *mem = ptd_memory(s, addr, &offset);

    if (mem) {
        return ldn_le_p(mem + offset, size);
    }
    switch (size) {
    case 4:
        return ptd_reg_read(s, addr);
    case 8:
        return ptd_reg_read(s, addr) |
               (uint64_t)ptd_reg_read(s, addr + 4) << 32;
    }
    return 0;
}

static void ptd_write(void *opaque, hwaddr addr, uint64_t val, unsigned size)
{
    PtdState *s = opaque;
    hwaddr offset;
    uint8_t *mem = ptd_memory(s, addr, &offset);

    if (mem) {
        /* the second half of a slot from STATUS on is the device's */
        if (mem == s->buf || offset % PTD_SLOT_SIZE < PTD_D_STATUS) {
            stn_le_p(mem + offset, size, val);
        }
    } else if (size >= 4) {
        ptd_reg_write(s, addr, val);
        if (size == 8) {
            ptd_reg_write(s, addr + 4, val >> 32);
        }
        ptd_interrupt(s);
    }
}

static const MemoryRegionOps ptd_ops = {
    .read = ptd_read,
    .write = ptd_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8 },
    .impl = { .min_access_size = 1, .max_access_size = 8 },
};

/* The PCI function */

static void ptd_add_capabilities(PtdState *s, uint16_t acs, uint16_t acs_enable)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint16_t offset = PCI_CONFIG_SPACE_SIZE;
    uint16_t cap;

    if (s->pasid_bits) {
        cap = s->pasid_bits << 8;
        cap |= s->pasid_exec ? PCI_PASID_CAP_EXEC : 0;
        cap |= s->pasid_priv ? PCI_PASID_CAP_PRIV : 0;
        pcie_add_capability(pdev, PCI_EXT_CAP_ID_PASID, 1, offset,
                            PCI_EXT_CAP_PASID_SIZEOF);
        pci_set_word(pdev->config + offset + PCI_PASID_CAP, cap);
        pci_set_word(pdev->wmask + offset + PCI_PASID_CTRL,
                     PCI_PASID_CTRL_ENABLE |
                     (cap & (PCI_PASID_CAP_EXEC | PCI_PASID_CAP_PRIV)));
        s->pasid_cap = offset;
        offset += PCI_EXT_CAP_PASID_SIZEOF;
    }
    if (s->ats) {
        pcie_ats_init(pdev, offset, true);
        offset += PCI_EXT_CAP_ATS_SIZEOF;
    }
    if (acs) {
        pcie_add_capability(pdev, PCI_EXT_CAP_ID_ACS, PCI_ACS_VER, offset,
                            PCI_ACS_SIZEOF);
        pci_set_word(pdev->config + offset + PCI_ACS_CAP, acs);
        pci_set_word(pdev->wmask + offset + PCI_ACS_CTRL, acs_enable);
        pdev->exp.acs_cap = offset;
    }
}

static void ptd_realize(PCIDevice *pdev, Error **errp)
{
    PtdState *s = PASID_TESTDEV(pdev);
    bool multifunction = PCI_FUNC(pdev->devfn) ||
                         pdev->cap_present & QEMU_PCI_CAP_MULTIFUNCTION;
    uint16_t acs, acs_enable;
    unsigned i;

    /*
     * Linux wants Request Redirect for PASIDs, and Completion Redirect besides
     * for a group of its own; what a function does not implement counts as on.
     */
    if (!s->acs || !strcmp(s->acs, "none")) {
        acs = acs_enable = 0;
    } else if (!strcmp(s->acs, "isolating")) {
        acs = acs_enable = PCI_ACS_RR | PCI_ACS_CR;
    } else if (!strcmp(s->acs, "sharing")) {
        acs = PCI_ACS_RR | PCI_ACS_CR;
        acs_enable = PCI_ACS_RR;
    } else {
        error_setg(errp, "acs must be none, isolating or sharing");
        return;
    }
    if (s->pasid_bits > 20) {
        error_setg(errp, "pasid-bits must be 0 to 20");
        return;
    }

    if (pcie_endpoint_cap_init(pdev, 0) < 0) {
        error_setg(errp, "no PCI Express capability");
        return;
    }
    pcie_cap_flr_init(pdev);
    ptd_add_capabilities(s, multifunction ? acs : 0, acs_enable);

    if (msix_init_exclusive_bar(pdev, PTD_NR_VECTORS, PTD_MSIX_BAR, errp)) {
        pcie_cap_exit(pdev);
        return;
    }
    for (i = 0; i < PTD_NR_VECTORS; i++) {
        msix_vector_use(pdev, i);
    }

    memory_region_init_io(&s->bar, OBJECT(s), &ptd_ops, s, TYPE_PASID_TESTDEV,
                          PTD_BAR_SIZE);
    pci_register_bar(pdev, PTD_BAR, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->bar);

    s->used = g_hash_table_new(NULL, NULL);
    s->contexts = g_hash_table_new_full(NULL, NULL, NULL, ptd_context_free);
    for (i = 0; i < PTD_NR_QUEUES; i++) {
        PtdQueue *q = &s->queue[i];

        q->dev = s;
        q->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, ptd_timer, q);
        q->bh = qemu_bh_new_guarded(ptd_bh, q,
                                    &DEVICE(s)->mem_reentrancy_guard);
    }
    ptd_soft_reset(s);
}

static void ptd_exit(PCIDevice *pdev)
{
    PtdState *s = PASID_TESTDEV(pdev);
    unsigned i;

    ptd_quiesce(s);
    g_hash_table_unref(s->contexts);
    g_hash_table_unref(s->used);
    for (i = 0; i < PTD_NR_QUEUES; i++) {
        timer_free(s->queue[i].timer);
        qemu_bh_delete(s->queue[i].bh);
    }
    msix_uninit_exclusive_bar(pdev);
    pcie_cap_exit(pdev);
}

static void ptd_reset(DeviceState *dev)
{
    PCIDevice *pdev = PCI_DEVICE(dev);
    PtdState *s = PASID_TESTDEV(dev);

    ptd_soft_reset(s);
    if (s->pasid_cap) {
        pci_set_word(pdev->config + s->pasid_cap + PCI_PASID_CTRL, 0);
    }
    if (s->ats) {
        pci_set_word(pdev->config + pdev->exp.ats_cap + PCI_ATS_CTRL, 0);
    }
    pcie_acs_reset(pdev);
}

static void ptd_write_config(PCIDevice *pdev, uint32_t addr, uint32_t val,
                             int len)
{
    PtdState *s = PASID_TESTDEV(pdev);
    bool ats = ptd_ats_enabled(s);

    pci_default_write_config(pdev, addr, val, len);
    if (ats != ptd_ats_enabled(s)) {
        g_hash_table_remove_all(s->contexts);
    }
    pcie_cap_flr_write_config(pdev, addr, val, len);
}

static const Property ptd_properties[] = {
    DEFINE_PROP_UINT8("pasid-bits", PtdState, pasid_bits, 20),
    DEFINE_PROP_BOOL("pasid-exec", PtdState, pasid_exec, true),
    DEFINE_PROP_BOOL("pasid-priv", PtdState, pasid_priv, true),
    DEFINE_PROP_BOOL("ats", PtdState, ats, false),
    DEFINE_PROP_UINT32("pasids", PtdState, pasids, 1024),
    DEFINE_PROP_STRING("acs", PtdState, acs),
};

static const VMStateDescription ptd_vmstate = {
    .name = TYPE_PASID_TESTDEV,
    .unmigratable = 1,
};

static void ptd_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = ptd_realize;
    k->exit = ptd_exit;
    k->config_write = ptd_write_config;
    k->vendor_id = PTD_VENDOR_ID;
    k->device_id = PTD_DEVICE_ID;
    k->revision = PTD_REVISION;
    k->class_id = PCI_CLASS_OTHERS;
    dc->desc = "endpoint that does DMA with PASIDs on request";
    dc->vmsd = &ptd_vmstate;
    device_class_set_props(dc, ptd_properties);
    device_class_set_legacy_reset(dc, ptd_reset);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo ptd_info = {
    .name = TYPE_PASID_TESTDEV,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(PtdState),
    .class_init = ptd_class_init,
    .interfaces = (InterfaceInfo[]) { { INTERFACE_PCIE_DEVICE }, { } },
};

static void ptd_register_types(void)
{
    type_register_static(&ptd_info);
}

type_init(ptd_register_types)
