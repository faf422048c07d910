/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Programming interface of the PASID test device.
 *
 * Shared, as it is, by the device model in QEMU and by the kernel's test
 * driver, so it holds plain constants only. The meaning of each register is
 * told in Documentation/driver-api/iommu-ext/pasid-testdev.rst.
 */
#ifndef PASID_TESTDEV_REGS_H
#define PASID_TESTDEV_REGS_H

#define PTD_VENDOR_ID		0x1234
#define PTD_DEVICE_ID		0x5041
#define PTD_REVISION		1

/* BAR 0 holds everything but the MSI-X structures, which are in BAR 2 */
#define PTD_BAR			0
#define PTD_MSIX_BAR		2
#define PTD_BAR_SIZE		0x20000

#define PTD_NR_QUEUES		8
#define PTD_NR_SLOTS		64	/* descriptors in each queue */
#define PTD_NR_VECTORS		8

#define PTD_MAX_LEN		0x100000	/* bytes of one request */
#define PTD_MAX_CHUNK		0x10000		/* bytes of one step */
#define PTD_DEF_CHUNK		0x1000
#define PTD_MAX_DELAY_US	10000000

/* Global registers, 32 bits wide */
#define PTD_REG_ID		0x00	/* ro: PTD_ID */
#define  PTD_ID			0x44495350
#define PTD_REG_VERSION		0x04	/* ro: PTD_VERSION */
#define  PTD_VERSION		1
#define PTD_REG_CAPS		0x08	/* ro: queues in 7:0, slots in 15:8 */
#define PTD_REG_CTRL		0x0c
#define  PTD_CTRL_RESET		0x1	/* write 1: as FLR, less config space */
#define PTD_REG_BUSY		0x10	/* ro: a bit per queue with requests */
#define PTD_REG_ATC_ENTRIES	0x20	/* ro: pages cached now */
#define PTD_REG_ATC_HITS	0x24	/* ro: pieces moved by a cached page */
#define PTD_REG_ATC_FILLS	0x28	/* ro: translations that were cached */
#define PTD_REG_ATC_INVALS	0x2c	/* ro: invalidations received */

/* Registers of queue q */
#define PTD_QUEUE(q)		(0x100 + (q) * 0x40)
#define PTD_Q_CTRL		0x00
#define  PTD_Q_CTRL_HOLD	0x1	/* no step begins while this is set */
#define  PTD_Q_CTRL_ABORT	0x2	/* write 1: end all with PTD_ST_ABORTED */
#define PTD_Q_DOORBELL		0x04	/* wo: number of the slot to queue */
#define PTD_Q_PENDING		0x08	/* ro, 64 bits: slots that are queued */
#define PTD_Q_DONE		0x10	/* rw1c, 64 bits: slots that ended */
#define PTD_Q_VECTOR		0x18	/* MSI-X vector, the queue's number */
#define PTD_Q_CHUNK		0x1c	/* bytes of a step, PTD_DEF_CHUNK */
#define PTD_Q_ERRORS		0x20	/* ro: doorbells that were refused */

/* Descriptor in slot s of queue q */
#define PTD_SLOT(q, s)		(0x8000 + (q) * 0x1000 + (s) * 0x40)
#define PTD_D_CTRL		0x00	/* opcode and flags */
#define PTD_D_PASID		0x04
#define PTD_D_SRC		0x08	/* 64 bits */
#define PTD_D_DST		0x10	/* 64 bits */
#define PTD_D_LEN		0x18
#define PTD_D_DELAY_US		0x1c	/* pause before each step */
#define PTD_D_PATTERN		0x20	/* 64 bits */
#define PTD_D_BUF		0x28	/* offset in the device's buffer */
#define PTD_D_STATUS		0x30	/* ro: PTD_ST_* */
#define PTD_D_MOVED		0x34	/* ro: bytes that reached their place */
#define PTD_D_FAULT_ADDR	0x38	/* ro, 64 bits: where it stopped */

/* Fields of PTD_D_CTRL; the other bits must be 0 */
#define PTD_OP_MASK		0xff
#define PTD_OP_COPY		1	/* memory at SRC to memory at DST */
#define PTD_OP_FILL		2	/* PATTERN to memory at DST */
#define PTD_OP_READ		3	/* memory at SRC to the buffer at BUF */
#define PTD_OP_WRITE		4	/* the buffer at BUF to memory at DST */
#define PTD_OP_VERIFY		5	/* compare memory at SRC with PATTERN */
#define PTD_F_PASID		0x0100	/* send requests with PASID */
#define PTD_F_PRIV		0x0200	/* ... with Privileged Mode Requested */
#define PTD_F_EXEC		0x0400	/* ... reads with Execute Requested */
#define PTD_F_IRQ		0x0800	/* interrupt at the end */
#define PTD_F_UNTRANSLATED	0x1000	/* leave the ATC alone */

/* PTD_D_STATUS */
#define PTD_ST_IDLE		0	/* never queued since reset */
#define PTD_ST_QUEUED		1
#define PTD_ST_RUNNING		2
#define PTD_ST_OK		3
#define PTD_ST_READ_FAULT	4	/* reading memory failed */
#define PTD_ST_WRITE_FAULT	5	/* writing memory failed */
#define PTD_ST_MISMATCH		6	/* VERIFY found something else */
#define PTD_ST_BAD_DESC		7
#define PTD_ST_NO_MASTER	8	/* Bus Master Enable is off */
#define PTD_ST_PASID_OFF	9	/* PASID Enable is off, or no capability */
#define PTD_ST_BAD_PASID	10	/* PASID wider than the capability says */
#define PTD_ST_PRIV_OFF		11	/* Privileged Mode Enable is off */
#define PTD_ST_EXEC_OFF		12	/* Execute Permission Enable is off */
#define PTD_ST_NO_CONTEXT	13	/* too many different PASIDs were used */
#define PTD_ST_ABORTED		14

/* The device's own memory, readable and writable by the driver too */
#define PTD_BUF			0x10000
#define PTD_BUF_SIZE		0x10000

#endif /* PASID_TESTDEV_REGS_H */
