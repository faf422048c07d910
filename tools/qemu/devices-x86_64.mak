# SPDX-License-Identifier: GPL-2.0
#
# What the emulator for x86_64 contains: the q35 machine with VT-d or virtio-iommu,
# root ports with hotplug, a device for DMA without PASIDs and ours for DMA with them.
CONFIG_Q35=y
CONFIG_VTD=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_IOMMU=y
CONFIG_PCIE_PORT=y
CONFIG_EDU=y
CONFIG_PASID_TESTDEV=y
