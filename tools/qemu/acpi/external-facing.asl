// SPDX-License-Identifier: GPL-2.0
//
// Says of the root port at slot 10 (hexadecimal) of bus 0 that devices outside of
// the machine can be plugged into it, so that the guest takes what is behind it as
// untrusted. QEMU's own table has the port's device, S80.
DefinitionBlock ("", "SSDT", 2, "IOMMUX", "EXTFACE", 1)
{
    External (\_SB.PCI0.S80, DeviceObj)

    Scope (\_SB.PCI0.S80)
    {
        Name (_DSD, Package ()
        {
            ToUUID ("efcc06cc-73ac-4bc3-bff0-76143807c389"),
            Package () { Package () { "ExternalFacingPort", 1 } }
        })
    }
}
