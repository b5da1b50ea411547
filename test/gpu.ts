/**
 * A GPU for tests in Node: Dawn, on SwiftShader where Debian's chromium has brought it. ATALHO_VULKAN_ICD names another
 * Vulkan driver's manifest. Without one the tests are reported as skipped; in CI that is a failure.
 */
import { existsSync } from 'node:fs';

const ICD = process.env.ATALHO_VULKAN_ICD ?? '/usr/lib/chromium/vk_swiftshader_icd.json';

/** Why there is none; null where there is one. */
export const noGpu: string | null = existsSync(ICD)
  ? null
  : `no Vulkan driver at ${ICD}: apt-get install chromium libvulkan1, or set ATALHO_VULKAN_ICD`;

if (noGpu === null) process.env.VK_ICD_FILENAMES ??= ICD;
else if (process.env.CI) throw new Error(noGpu);
