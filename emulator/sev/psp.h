/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The SEV firmware behind the mailbox.
 */
#ifndef I386_TCG_SEV_PSP_H
#define I386_TCG_SEV_PSP_H

#define SEV_COMMAND_MAX         128     /* longest command buffer in bytes */

/* Run @cmd on its buffer @b, which takes the answer; returns the status */
int sev_firmware_command(int cmd, uint8_t *b);
/* As after power-on: nothing initialised, no guests */
void sev_firmware_reset(void);
/* Length of the command's buffer, 0: no such command, or it has none */
int sev_firmware_length(int cmd);

#define SEV_ST_INVALID_ADDRESS  0x09

#endif
