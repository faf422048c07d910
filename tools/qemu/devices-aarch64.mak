# SPDX-License-Identifier: GPL-2.0
#
# What the emulator for aarch64 contains: the virt machine with SMMUv3, and
# the same devices as that for x86_64.
CONFIG_ARM_VIRT=y
CONFIG_PCIE_PORT=y
CONFIG_EDU=y
CONFIG_PASID_TESTDEV=y
